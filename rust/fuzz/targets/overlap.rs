#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dasd_fuzz::overlap(data));
