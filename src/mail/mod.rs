//! The vocabulary of mail: addresses, header fields, messages, envelopes.
//!
//! Everything here was checked when it was made: an [`Address`] holds no CR, LF, NUL or space outside a quoted string,
//! so it can be written into a command or a header without looking at it again.

mod address;
mod fold;
mod header;
mod message;
mod recipient;

pub use address::{Address, AddressError, Mailbox, ReversePath, mask};
pub use fold::Folder;
pub use header::{Field, HeaderFields};
pub use message::{Envelope, Message, Need, is_disguised_dot};
pub use recipient::{PhoneNumber, Recipient};
