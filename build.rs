//! Compiles the shipped recognition, so that no daemon has to: `recognition.json` is what its phrases mean, and
//! `recognition.bin` is the phrases themselves. Both are read by `src/policy/recognition/mod.rs`, whose modules do the work.

#![allow(dead_code, reason = "the modules have more in them than it takes to compile")]

use std::error::Error;
use std::path::PathBuf;

#[path = "src/policy"]
mod policy {
    pub mod normalize;

    pub mod recognition {
        mod automaton;
        mod compile;
        mod dawg;
        mod error;
        mod files;
        mod knowledge;
        mod pattern;
        mod point;
        mod shipped;

        use std::error::Error;

        /// What the shipped phrases mean, and the phrases.
        pub fn compiled() -> Result<(String, Vec<u8>), Box<dyn Error>> {
            let (knowledge, automaton) = compile::compile(shipped::SHIPPED)?;
            Ok((serde_json::to_string(&knowledge)?, automaton.block().to_vec()))
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let (knowledge, block) = policy::recognition::compiled()?;
    std::fs::write(out.join("recognition.json"), knowledge)?;
    std::fs::write(out.join("recognition.bin"), block)?;
    // The files are part of this program: it is built anew when they change.
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
