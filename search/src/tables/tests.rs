use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;

use super::*;

const LAYERS: &str = r#"{ "model": "m", "variables": ["u.act", "u.conv"], "extra_fixed_params": 7, "layers": [
  { "index": 0, "c_in": 3, "c_out": 4, "hw": 16, "k": 3, "groups": 1, "fixed_8bit": true, "search_slot": null,
    "mac": 100.5, "params": 108, "act_variable": null, "weight_variable": null, "hw_true_output": 16 },
  { "index": 1, "c_in": 4, "c_out": 4, "hw": 16, "k": 1, "groups": 1, "fixed_8bit": false, "search_slot": 0,
    "mac": 224.0, "params": 16, "act_variable": "u.act", "weight_variable": "u.conv" } ] }"#;

const COUNTED: &str = r#"{ "model": "m", "input": [1, 3, 8, 8], "fixed_8bit": ["first"], "layers": [
  { "index": 0, "name": "first", "c_in": 3, "c_out": 4, "k": 3, "stride": 2, "out_h": 4, "searchable": false,
    "params": 108, "spatial_upstream": 20, "macs_upstream": 2160, "spatial_true": 16, "macs_true": 1728 },
  { "index": 1, "name": "a", "c_in": 4, "c_out": 4, "k": 1, "stride": 1, "out_h": 4, "searchable": true,
    "params": 16, "spatial_upstream": 16, "macs_upstream": 256, "spatial_true": 16, "macs_true": 256 } ] }"#;

const INDICATORS: &str = r#"{ "model": "m", "bit_candidates": [4, 3, 2], "layers": [
  { "name": "a", "weight": { "4": 0.25, "3": 0.5, "2": 0.75 }, "act": { "4": 0.5, "3": 0.375, "2": 1.0 } } ] }"#;

fn bits(width: u8) -> Bits {
    Bits::new(width).unwrap()
}

#[test]
fn tables_are_read_with_their_variables_in_order() {
    let layers = PairwiseLayers::parse(LAYERS).unwrap();
    let all = layers.space(&[PointKind::Weight, PointKind::Activation], &[bits(4), bits(8)]);
    assert_eq!(all.variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["u.act", "u.conv"]);
    assert_eq!(all.variables[0].kind, PointKind::Activation);
    let weights = layers.space(&[PointKind::Weight], &[bits(4), bits(8)]);
    assert_eq!(weights.variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["u.conv"]);

    let indicators = Indicators::parse(INDICATORS).unwrap();
    indicators.check(&LimpqLayers::parse(COUNTED).unwrap()).unwrap();
    let space = indicators.space(&[bits(4), bits(3)]).unwrap();
    assert_eq!(space.variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["a.weight", "a.act"]);
    assert_eq!(space.variables[1].widths, [bits(3), bits(4)]);
}

#[test]
fn a_pairwise_table_that_is_wrong_gives_one_error_that_names_the_place() {
    let cases = [
        ("\"mac\": 224.0, ", "", "missing field `mac`"),
        ("224.0", "NaN", "cannot be read"),
        ("224.0", "-1.0", "`mac` of `layers[1]` is -1"),
        ("\"params\": 16", "\"params\": 0", "`params` of `layers[1]` is 0"),
        (
            "\"groups\": 1, \"fixed_8bit\": false",
            "\"groups\": 0, \"fixed_8bit\": false",
            "`groups` of `layers[1]`",
        ),
        ("\"model\"", "\"colour\": 1, \"model\"", "unknown field `colour`"),
        ("\"u.act\", \"u.conv\"]", "\"u.conv\", \"u.conv\"]", "`u.conv` stands there twice"),
        (
            "\"u.act\", \"u.conv\"]",
            "\"u.act\", \"u.conv\", \"v.act\", \"v.conv\"]",
            "search slot 1 of `v.act` is missing",
        ),
        ("\"act_variable\": \"u.act\"", "\"act_variable\": \"v.act\"", "`v.act of layers[1]` is unknown"),
        ("\"search_slot\": 0", "\"search_slot\": 4", "`u.act of layers[1]` is unknown"),
        ("\"search_slot\": 0", "\"search_slot\": null", "of layers[1]` is unknown"),
        ("\"fixed_8bit\": false", "\"fixed_8bit\": true", "search_slot `0 of layers[1]`"),
        ("\"index\": 1", "\"index\": 2", "the index `2 of layers[1]`"),
    ];
    for (from, to, expected) in cases {
        assert!(LAYERS.contains(from), "{from}");
        let error = PairwiseLayers::parse(&LAYERS.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for end in (0..LAYERS.len()).step_by(31) {
        assert!(matches!(PairwiseLayers::parse(&LAYERS[..end]), Err(TableError::Malformed { .. })));
    }
}

#[test]
fn a_table_of_counted_layers_that_is_wrong_gives_one_error_that_names_the_layer() {
    let cases = [
        ("\"name\": \"a\"", "\"name\": \"first\"", "`first` stands there twice"),
        ("\"searchable\": true", "\"searchable\": false", "`a` is unknown"),
        ("[\"first\"]", "[\"first\", \"a\"]", "`a` is unknown"),
        ("[\"first\"]", "[\"first\", \"b\"]", "`b` is unknown"),
        ("\"macs_true\": 256", "\"macs_true\": 0", "`macs_true` of `a` is 0"),
        ("\"macs_true\": 256", "\"macs_true\": 2.5", "cannot be read"),
    ];
    for (from, to, expected) in cases {
        assert!(COUNTED.contains(from), "{from}");
        let error = LimpqLayers::parse(&COUNTED.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn indicators_that_are_wrong_give_one_error_that_names_the_layer() {
    let cases = [
        ("\"2\": 0.75", "\"2\": 0.75, \"5\": 0.1", "the width `5 of a.weight` is unknown"),
        (", \"2\": 0.75", "", "the step at 2 bits of `a.weight` is missing"),
        ("\"2\": 0.75", "\"2\": -0.75", "`2 bits` of `a.weight` is -0.75"),
        ("\"2\": 0.75", "\"2\": NaN", "cannot be read"),
        ("\"2\": 0.75", "\"3\": 0.75", "the width 3 stands there twice"),
        ("\"2\": 0.75", "\"1\": 0.75", "1 bits are not supported"),
        ("[4, 3, 2]", "[4, 3, 3]", "`3 bits in bit_candidates` stands there twice"),
    ];
    for (from, to, expected) in cases {
        assert!(INDICATORS.contains(from), "{from}");
        let error = Indicators::parse(&INDICATORS.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let twice = INDICATORS.replace("} ] }", "}, { \"name\": \"a\", \"weight\": {}, \"act\": {} } ] }");
    assert_eq!(Indicators::parse(&twice), Err(TableError::Duplicate("a".to_owned())));
}

#[test]
fn indicators_and_layers_must_be_of_the_same_network() {
    let layers = LimpqLayers::parse(COUNTED).unwrap();
    let other = Indicators::parse(&INDICATORS.replace("\"a\"", "\"b\"")).unwrap();
    let error = other.check(&layers).unwrap_err().to_string();
    assert!(error.contains("`b`"), "{error}");

    let none = Indicators { layers: Vec::new(), ..other };
    assert!(none.check(&layers).unwrap_err().to_string().contains("`a`"));
    assert!(none.space(&[bits(8)]).unwrap_err().to_string().contains("8 bits"));
}

#[test]
fn the_erase_rule_compares_what_was_learned_for_neighbouring_widths_of_the_space() {
    let indicators = Indicators::parse(INDICATORS).unwrap();
    let space = indicators.space(&[bits(2), bits(3), bits(4)]).unwrap();

    let erased = indicators.erased(&space).unwrap();
    assert_eq!(erased.len(), 1);
    assert_eq!((erased[0].kind, erased[0].bits, erased[0].original), (PointKind::Activation, bits(3), 0.375));
    let form = indicators.objective(&space, 2.0, true).unwrap();
    assert_eq!(form.one, [vec![1.5, 1.0, 0.5], vec![1.0, crate::cost::ERASED, 0.5]]);
    let form = indicators.objective(&space, 2.0, false).unwrap();
    assert_eq!(form.one[1], [1.0, 0.375, 0.5]);

    let gap = indicators.space(&[bits(2), bits(4)]).unwrap();
    let error = indicators.objective(&gap, 2.0, true).unwrap_err().to_string();
    assert!(error.contains("3 bits"), "{error}");
    assert!(indicators.objective(&gap, 2.0, false).is_ok());
}
