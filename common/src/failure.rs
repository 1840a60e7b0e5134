//! [`Failure`]: what kind of failure ends a program or a request; the same kinds everywhere.

use serde::{Deserialize, Serialize};

/// What kind of failure it is; the number is the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Failure {
    /// None of the below.
    Other = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nothing has that name.
    NotFound = 3,
    /// It exists, and nobody who has it can be reached.
    NoSource = 4,
    /// What came was not what was asked for.
    Verification = 5,
    /// Not a member.
    NotPermitted = 6,
    /// A local file or folder: full, read-only, exists.
    LocalFile = 7,
    /// The node or the tracker cannot be reached.
    Unreachable = 8,
    /// Some is done, some is not.
    Partly = 9,
    /// The user interrupted; what is there is kept.
    Interrupted = 130,
}

impl Failure {
    /// The program's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        let codes = [
            (Failure::Other, 1),
            (Failure::Usage, 2),
            (Failure::NotFound, 3),
            (Failure::NoSource, 4),
            (Failure::Verification, 5),
            (Failure::NotPermitted, 6),
            (Failure::LocalFile, 7),
            (Failure::Unreachable, 8),
            (Failure::Partly, 9),
            (Failure::Interrupted, 130),
        ];
        assert!(codes.iter().all(|(failure, code)| failure.exit_code() == *code));
    }
}
