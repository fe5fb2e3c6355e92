//! authrelay: a relay that lets only authentication mail through.
//!
//! The modules stand in the order in which a message meets them. To see its whole path on one page, read `pipeline`.

// The vocabulary: knows nothing of anything below.
pub mod clock;
pub mod ident;
pub mod mail;
pub mod outcome;
pub mod secret;

pub mod event;

// The edge where mail comes in.
