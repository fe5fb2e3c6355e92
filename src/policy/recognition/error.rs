//! Why recognition can't be had.

/// Why a data file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecognitionError {
    /// It is no TOML, or not of the right shape.
    #[error("{file}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        problem: String,
    },
    /// An entry in it makes no sense.
    #[error("{file}: {entry}: {problem}")]
    Entry {
        /// The file.
        file: String,
        /// The entry.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// All phrases together are too many to be compiled.
    #[error("the phrases can't be compiled: there are too many {0}")]
    TooLarge(&'static str),
    /// What the program was built with can't be read.
    #[error("the recognition inside the program can't be read: {0}")]
    Damaged(String),
}
