//! How a command ends: with a code that scripts can tell apart, and a sentence.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::control::ControlError;
use crate::kernel::KernelError;
use crate::plan::PlanError;
use crate::registry::RegistryError;
use crate::sandbox::SandboxError;
use crate::store::StoreError;

/// The exit codes, as `--help` tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// Done, and everything agrees.
    Done,
    /// Done, but records differ or are held back.
    Differs,
    /// The command, the configuration or a connector file is wrong.
    Usage,
    /// A side cannot be reached, or something was refused.
    Refused,
    /// The state file is in use, missing or unusable.
    State,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => ExitCode::SUCCESS,
            Exit::Differs => ExitCode::from(1),
            Exit::Usage => ExitCode::from(2),
            Exit::Refused => ExitCode::from(3),
            Exit::State => ExitCode::from(4),
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// What is wrong and what to do about it; one problem a line.
    pub message: String,
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, message: message.into() }
    }

    pub fn state(message: impl Into<String>) -> Self {
        Self { exit: Exit::State, message: message.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::state(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Unknown(message) | ControlError::Wrong(message) => Self::usage(message),
            error @ (ControlError::Refused(_) | ControlError::Broken { .. }) => Self::refused(error.to_string()),
        }
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Store(error) => error.into(),
            error @ KernelError::Connection { .. } => Self::usage(error.to_string()),
            error @ KernelError::Mark(_) => Self::refused(error.to_string()),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => error.into(),
            error @ RegistryError::Refused(_) => Self::refused(error.to_string()),
            error @ (RegistryError::Wrong(_) | RegistryError::Unknown(_)) => Self::usage(error.to_string()),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Store(error) => error.into(),
            PlanError::Kernel(error) => error.into(),
            PlanError::Unknown(message) => Self::usage(message),
            error @ PlanError::Folder(_) => Self::state(error.to_string()),
        }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match &error {
            SandboxError::Settings { .. } => Self::usage(error.to_string()),
            SandboxError::Listen { .. }
            | SandboxError::Thread { .. }
            | SandboxError::UnknownAccount { .. }
            | SandboxError::Refused { .. } => Self::refused(error.to_string()),
        }
    }
}
