//! The fault switches do what they say.
