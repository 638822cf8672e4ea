//! The generated code is what the `.proto` files give: the wire under `proto/src/generated`, the ONNX format under
//! `quant/src/onnx/generated`.
//!
//! With `BITLOOP_REGENERATE=1` the files are written instead of compared:
//! `BITLOOP_REGENERATE=1 cargo test --release -p bitloop-tests --test generated_code`.

use std::fs;
use std::path::{Path, PathBuf};

use bitloop_tests::root;

/// One `.proto` file and what is made from it.
struct Generated {
    /// Where names in the `.proto` files start from.
    includes: PathBuf,
    proto: &'static str,
    /// Where the generated files lie.
    folder: PathBuf,
    files: &'static [&'static str],
}

fn compiler(includes: &Path) -> protox::Compiler {
    let mut compiler = protox::Compiler::new([includes]).expect("the folder can be read");
    compiler.include_imports(true);
    compiler
}

fn generate(source: &Generated, into: &Path) {
    // The comments become docs of the generated code; reflection does without them.
    let with_comments = compiler(&source.includes)
        .include_source_info(true)
        .open_file(source.proto)
        .expect("the .proto file is valid")
        .file_descriptor_set();
    tonic_prost_build::configure()
        .build_transport(true)
        .out_dir(into)
        .compile_fds(with_comments)
        .expect("code can be generated");
    let descriptor = compiler(&source.includes)
        .include_source_info(false)
        .open_file(source.proto)
        .expect("the .proto file is valid")
        .encode_file_descriptor_set();
    fs::write(into.join("descriptor.bin"), descriptor).expect("the folder can be written");
}

fn assert_up_to_date(source: &Generated) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    generate(source, folder.path());

    for file in source.files {
        let committed = source.folder.join(file);
        let fresh = fs::read(folder.path().join(file)).expect("the compiler wrote it");
        if std::env::var_os("BITLOOP_REGENERATE").is_some() {
            fs::create_dir_all(&source.folder).expect("the folder can be made");
            fs::write(&committed, &fresh).expect("the file can be written");
        }
        let found = fs::read(&committed).unwrap_or_default();
        assert!(
            found == fresh,
            "{} is out of date; run this test with BITLOOP_REGENERATE=1",
            committed.display()
        );
    }
}

#[test]
fn generated_wire_is_what_its_proto_file_gives() {
    assert_up_to_date(&Generated {
        includes: root().join("proto"),
        proto: "bitloop/v1/coordinator.proto",
        folder: root().join("proto/src/generated"),
        files: &["bitloop.v1.rs", "descriptor.bin"],
    });
}

#[test]
fn generated_onnx_schema_is_what_its_proto_file_gives() {
    assert_up_to_date(&Generated {
        includes: root().join("quant/proto"),
        proto: "onnx.proto",
        folder: root().join("quant/src/onnx/generated"),
        files: &["onnx.rs"],
    });
}
