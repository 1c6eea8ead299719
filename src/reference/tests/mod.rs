//! What holds the declared keys and the code that reads the files together.

mod current;
mod drift;
mod example;
mod mistakes;
mod schemas;
mod told;
mod validator;
