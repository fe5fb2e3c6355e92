#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| authrelay_fuzz::checks::upstream_answers(octets));
