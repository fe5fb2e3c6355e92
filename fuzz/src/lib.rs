//! The checks that the fuzz targets run. They stand in `tests/checks`, because they are property tests as well.

#[path = "../../tests/checks/mod.rs"]
pub mod checks;
