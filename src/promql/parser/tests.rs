//! What is accepted and how it is printed, what is refused with which words; limits.
//!
//! The cases are lines of text files beside: an expression (`\n` is a line feed), then, indented, what comes of it.

use super::super::pretty;
use super::*;

fn cases(text: &str) -> impl Iterator<Item = (String, String)> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty() && !l.starts_with("## ")).collect();
    assert!(lines.len().is_multiple_of(2), "an expression or its outcome is missing");
    let pairs: Vec<_> = lines
        .chunks_exact(2)
        .map(|pair| {
            let outcome = pair[1].strip_prefix("    ").unwrap_or_else(|| panic!("not indented: {}", pair[1]));
            (pair[0].replace("\\n", "\n"), outcome.to_owned())
        })
        .collect();
    pairs.into_iter()
}

#[test]
fn what_is_right_is_accepted_and_printed_as_prometheus_does() {
    for (text, printed) in cases(include_str!("accepted.txt")) {
        let expr = parse(&text, &ParseOptions::all()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(expr.to_string(), printed, "{text}");
        for again in [printed, pretty(&expr)] {
            let read = parse(&again, &ParseOptions::all()).unwrap_or_else(|e| panic!("{text}: {again}: {e}"));
            assert!(read.same_as(&expr), "{text}: {again}\n{expr:#?}\n{read:#?}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_in_prometheus_s_words() {
    for (text, error) in cases(include_str!("refused.txt")) {
        match parse(&text, &ParseOptions::all()) {
            Ok(expr) => panic!("{text}: accepted as {expr}"),
            Err(errors) => assert_eq!(errors.to_string(), error, "{text}"),
        }
    }
}

#[test]
fn what_is_experimental_must_be_switched_on() {
    for (text, error) in [
        (
            "limitk(2, a)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("sum(info(a))", "1:5: parse error: function \"info\" is not enabled"),
        ("a[5m+1m]", "1:3: parse error: experimental duration expression is not enabled"),
        ("a offset step()", "1:10: parse error: experimental duration expression is not enabled"),
        ("a[5m] smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("a + fill(0) b", "1:5: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        let refused = parse(text, &ParseOptions::default()).expect_err(text);
        assert_eq!(refused.to_string(), error);
        assert!(parse(text, &ParseOptions::all()).is_ok(), "{text}");
    }
}

#[test]
fn several_errors_are_kept_and_the_first_is_printed() {
    let text = "nope(a) +\n  sum(b) + also_nope(\"x\")";
    let errors = parse(text, &ParseOptions::all()).expect_err(text);
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        all,
        [
            "1:1: parse error: unknown function with name \"nope\"",
            "2:12: parse error: unknown function with name \"also_nope\""
        ]
    );
    assert_eq!(errors.to_string(), all[0]);
    let wrong = "rate(a)\n\t+ é{";
    let errors = parse(wrong, &ParseOptions::all()).expect_err(wrong);
    assert_eq!(errors.snippet(wrong), "\t+ é{\n\t  ^");
}

#[test]
fn every_node_knows_its_place() {
    let text = "sum by (a) (rate(x[5m] offset 1m)) / -(y @ 5)";
    let expr = parse(text, &ParseOptions::all()).expect(text);
    let mut places = Vec::new();
    expr.walk(|e| places.push(&text[e.span().start as usize..e.span().end as usize]));
    assert_eq!(
        places,
        [
            text,
            "sum by (a) (rate(x[5m] offset 1m))",
            "rate(x[5m] offset 1m)",
            "x[5m] offset 1m",
            "-(y @ 5)",
            "(y @ 5)",
            "y @ 5"
        ]
    );
    let Expr::Binary(binary) = &expr else { panic!("{expr:?}") };
    assert_eq!(&text[binary.op_span.start as usize..binary.op_span.end as usize], "/");
}

#[test]
fn selectors_alone_are_read_for_the_api() {
    let shown =
        |text| parse_selector(text).map(|m| m.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    assert_eq!(shown("up{job=~\"a.*\"}").as_deref(), Ok("job=~\"a.*\" __name__=\"up\""));
    assert_eq!(shown("{a=\"\"}").as_deref(), Ok("a=\"\""));
    assert_eq!(shown("{\"a.b\", \"c d\"!=\"e\"}").as_deref(), Ok("__name__=\"a.b\" \"c d\"!=\"e\""));
    for (text, error) in [
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("sum(up)", "1:4: parse error: unexpected \"(\""),
        ("1", "1:1: parse error: unexpected number \"1\""),
        ("", "1:1: parse error: unexpected end of input"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
    ] {
        assert_eq!(shown(text).map_err(|e| e.to_string()), Err(error.to_owned()), "{text}");
    }
}

#[test]
fn hostile_texts_are_refused_without_reading_far() {
    let many = |n: usize, text: &str| text.repeat(n);
    for (text, why) in [
        (many(250_000, "("), "nested deeper"),
        (many(2_000_000, "("), "longer than"),
        (many(100_000, "-") + "1", "nested deeper"),
        (many(100_000, "-+"), "nested deeper"),
        (many(100_000, "a+") + "a", "levels"),
        (many(50_000, "a^") + "a", "nested deeper"),
        (many(20_000, "abs(") + "a" + &many(20_000, ")"), "nested deeper"),
        (many(20_000, "sum by (a)("), "nested deeper"),
        ("a".to_owned() + &many(20_000, "[5m:]"), "levels"),
        ("a[".to_owned() + &many(50_000, "("), "more than 100 parts"),
        ("a[".to_owned() + &many(50_000, "-") + "1]", "more than 100 parts"),
        ("a[1".to_owned() + &many(50_000, "+1") + "]", "more than 100 parts"),
        ("a offset ".to_owned() + &many(50_000, "min("), "more than 100 parts"),
        ("{".to_owned() + &many(5_000, "a=~\"b\",") + "}", "regular expressions"),
    ] {
        let errors = parse(&text, &ParseOptions::all()).expect_err(why);
        assert!(errors.to_string().contains(why), "{}...: {errors}", &text[..20]);
    }
}

#[test]
fn the_deepest_trees_that_are_accepted_can_be_walked_on_a_small_stack() {
    let chain = vec!["rate(a[5m])"; 1_000].join(" or ");
    let nested = "(".repeat(180) + "a" + &")".repeat(180);
    let both = vec![nested.as_str(); 1_000].join(" + ");
    for text in [chain, nested, both] {
        let options = ParseOptions { max_length_bytes: 1 << 20, ..ParseOptions::all() };
        let expr = parse(&text, &options).unwrap_or_else(|e| panic!("{e}"));
        let copy = expr.clone();
        assert_eq!(copy, expr);
        assert_eq!(copy.to_string(), text);
        let read = parse(&pretty(&expr), &ParseOptions { max_length_bytes: 100 << 20, ..options });
        assert!(read.is_ok_and(|read| read.same_as(&expr)));
        let mut count = 0;
        expr.walk(|_| count += 1);
        assert!(count > 180);
    }
}
