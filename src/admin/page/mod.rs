use axum::Router;
use super::{Control, Door};
pub(super) fn router(_control: Control, _door: &Door) -> Router { Router::new() }
