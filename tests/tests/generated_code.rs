//! The generated code under `proto/src/generated` is what the `.proto` file gives.
//!
//! With `BITLOOP_REGENERATE=1` the files are written instead of compared:
//! `BITLOOP_REGENERATE=1 cargo test --release -p bitloop-tests --test generated_code`.

use std::fs;
use std::path::{Path, PathBuf};

const PROTO: &str = "bitloop/v1/coordinator.proto";
const FILES: [&str; 2] = ["bitloop.v1.rs", "descriptor.bin"];

fn proto_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto")
}

fn compiler() -> protox::Compiler {
    let mut compiler = protox::Compiler::new([proto_folder()]).expect("the folder can be read");
    compiler.include_imports(true);
    compiler
}

fn generate(into: &Path) {
    // The comments become docs of the generated code; reflection does without them.
    let with_comments = compiler()
        .include_source_info(true)
        .open_file(PROTO)
        .expect("the .proto file is valid")
        .file_descriptor_set();
    tonic_prost_build::configure()
        .build_transport(true)
        .out_dir(into)
        .compile_fds(with_comments)
        .expect("code can be generated");
    let descriptor = compiler()
        .include_source_info(false)
        .open_file(PROTO)
        .expect("the .proto file is valid")
        .encode_file_descriptor_set();
    fs::write(into.join("descriptor.bin"), descriptor).expect("the folder can be written");
}

#[test]
fn generated_code_is_what_the_proto_file_gives() {
    let folder = tempfile::tempdir().unwrap();
    generate(folder.path());

    for file in FILES {
        let committed = proto_folder().join("src/generated").join(file);
        let fresh = fs::read(folder.path().join(file)).unwrap();
        if std::env::var_os("BITLOOP_REGENERATE").is_some() {
            fs::create_dir_all(committed.parent().unwrap()).unwrap();
            fs::write(&committed, &fresh).unwrap();
        }
        let found = fs::read(&committed).unwrap_or_default();
        assert!(
            found == fresh,
            "{} is out of date; run this test with BITLOOP_REGENERATE=1",
            committed.display()
        );
    }
}
