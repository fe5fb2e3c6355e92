#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| authrelay_fuzz::checks::command_line(octets));
