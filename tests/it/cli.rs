//! What the command line answers, as documents of commands and their output: `tests/cmd/*.trycmd`.

#[test]
fn the_documents_of_commands_hold() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
