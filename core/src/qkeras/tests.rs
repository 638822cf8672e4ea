use super::*;

fn quantizer(text: &str) -> Quantizer {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn problem(text: &str) -> Problem {
    text.parse::<Quantizer>().unwrap_err().problem
}

#[test]
fn arguments_are_positional_then_by_name() {
    let expected = QuantizedBits {
        bits: 4,
        integer: -1,
        symmetric: true,
        alpha: Some(Alpha::Number(0.5)),
        ..QuantizedBits::default()
    };

    assert_eq!(quantizer(" quantized_bits( 4 , -1,1, alpha = 0.5 ) "), Quantizer::Bits(expected));
    assert_eq!(quantizer("ternary"), quantizer("ternary()"));
    assert_eq!(quantizer("binary(alpha=[1 0.5 2])").alpha(), Some(&Alpha::List(vec![1.0, 0.5, 2.0])));
}

#[test]
fn every_name_has_defaults_that_are_valid() {
    for name in Quantizer::NAMES {
        let default = quantizer(name);

        assert_eq!(default.name(), *name);
        assert_eq!(default.check(), Ok(()));
        assert_eq!(default.changes(), []);
    }
    assert_eq!(Quantizer::NAMES.len(), 14);
}

#[test]
fn mistakes_are_named() {
    assert!(
        matches!(problem("quantised_bits(4)"), Problem::UnknownName { name, .. } if name == "quantised_bits")
    );
    assert_eq!(problem("relu"), Problem::FloatActivation("relu".to_owned()));
    assert_eq!(problem("quantized_bits(4"), Problem::Unclosed);
    assert_eq!(problem("quantized_bits(4)x"), Problem::Unclosed);
    assert_eq!(problem("quantized_bits(4,,1)"), Problem::EmptyArgument(2));
    assert_eq!(problem("quantized_bits(4,(0))"), Problem::Parentheses);
    assert_eq!(problem("quantized_bits(bits=4,0)"), Problem::PositionalAfterKeyword("0".to_owned()));
    assert_eq!(problem("quantized_bits(4,bits=3)"), Problem::Repeated("bits".to_owned()));
    assert!(matches!(
        problem("quantized_tanh(1,1,1,1,1)"),
        Problem::TooManyArguments { given: 5, parameters: 4 }
    ));
    assert!(matches!(problem("binary(bits=1)"), Problem::UnknownParameter { name, .. } if name == "bits"));
    assert_eq!(problem("binary(alpha=auto)"), Problem::Value("auto".to_owned()));
    assert_eq!(problem("binary(alpha=nan)"), Problem::Value("nan".to_owned()));
    assert!(matches!(problem("quantized_bits(4.5)"), Problem::Type { parameter: "bits", .. }));
    assert!(matches!(problem("quantized_bits(4,0,2)"), Problem::Type { parameter: "symmetric", .. }));
    assert!(matches!(problem("binary(alpha='best')"), Problem::Type { parameter: "alpha", .. }));
}

#[test]
fn values_that_no_quantizer_can_work_with_are_refused() {
    for (text, parameter) in [
        ("quantized_bits(0)", "bits"),
        ("quantized_bits(33)", "bits"),
        ("quantized_bits(4,65)", "integer"),
        ("quantized_bits(min_po2_exponent=1,max_po2_exponent=0)", "min_po2_exponent"),
        ("quantized_relu(4,0,0,0.3)", "negative_slope"),
        ("quantized_relu(1,0,0,0.5)", "bits"),
        ("quantized_po2(1)", "bits"),
        ("quantized_po2(10)", "bits"),
        ("quantized_po2(4,-1)", "max_value"),
        ("ternary(alpha='auto',threshold=0.5)", "threshold"),
        ("bernoulli(temperature=0)", "temperature"),
        ("quantized_ulaw(u=0)", "u"),
    ] {
        assert!(matches!(problem(text), Problem::Invalid { parameter: p, .. } if p == parameter), "{text}");
    }
}

#[test]
fn an_error_names_the_string_and_the_mistake() {
    let error = "quantized_bits(4,bit=1)".parse::<Quantizer>().unwrap_err().to_string();

    assert!(
        error.starts_with("`quantized_bits(4,bit=1)` is not understood: there is no parameter `bit`"),
        "{error}"
    );
}

#[test]
fn as_qkeras_reads_it_nested_parentheses_drop_all_arguments() {
    let dropped = Quantizer::parse("quantized_bits(4,(0),1)", Grammar::Qkeras);

    assert_eq!(dropped, Ok(quantizer("quantized_bits")));
    assert_eq!(
        Quantizer::parse("binary(alpha=xautox)", Grammar::Qkeras),
        Ok(quantizer("binary(alpha='auto')"))
    );
}

#[test]
fn float_activations_are_told_from_quantizers() {
    let activation = |text| Activation::parse(text, Grammar::Strict);

    assert_eq!(activation("relu"), Ok(Activation::Float(FloatActivation::Relu)));
    assert_eq!(activation("quantized_relu(4)").unwrap().quantizer(), Some(&quantizer("quantized_relu(4)")));
    assert_eq!(activation("relu(6)").unwrap_err().problem, Problem::ActivationArguments);
    assert!(matches!(activation("rely").unwrap_err().problem, Problem::UnknownName { .. }));
    for named in FloatActivation::ALL {
        assert_eq!(FloatActivation::named(named.name()), Some(*named));
    }
}

#[test]
fn what_is_printed_leaves_out_what_a_spelling_keeps() {
    let noisy = quantizer("quantized_bits(4,0,1,qnoise_factor=0.5)");

    assert_eq!(noisy.to_string(), "quantized_bits(4,0,1)");
    assert_eq!(noisy.spelling(), "quantized_bits(bits=4,symmetric=True,qnoise_factor=0.5)");
    assert_eq!(quantizer("quantized_bits(4,0,1)").spelling(), "quantized_bits(4,0,1)");
}

#[test]
fn every_spelling_reads_as_the_same_quantizer() {
    for text in [
        "quantized_po2(4,0.5)",
        "quantized_po2(4,use_stochastic_rounding=1)",
        "quantized_po2(4,1,log2_rounding='floor',var_name='a')",
        "quantized_relu_po2(4,None,0.25,1)",
        "quantized_relu(4,2,relu_upper_bound=1.3,is_quantized_clip=0)",
        "quantized_relu(4,2,0,0.5,1)",
        "quantized_tanh(4,0,1)",
        "quantized_tanh(4,0,0,1)",
        "quantized_sigmoid(4,0,0,1)",
        "quantized_linear(4,0,alpha=0.5)",
        "quantized_bits(alpha='auto',scale_axis=[0 -1],elements_per_scale=2,post_training_scale=[0.1 1e-7])",
        "quantized_hswish(8,2,relu_shift=2)",
        "quantized_ulaw(6,1,1,100)",
        "stochastic_ternary(alpha='auto',temperature=2,use_real_sigmoid=0,number_of_unrolls=3)",
    ] {
        let value = quantizer(text);

        assert_eq!(quantizer(&value.spelling()), value, "{text}");
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Quantizer>(&json).unwrap(), value);
    }
    assert!(serde_json::from_str::<Quantizer>("\"quantized_bits(4,(0))\"").is_err());
}

#[test]
fn a_kernel_without_alpha_finds_scales_and_is_symmetric() {
    assert_eq!(quantizer("quantized_bits(4)").as_kernel(), quantizer("quantized_bits(4,alpha='auto_po2')"));
    assert_eq!(quantizer("ternary").as_kernel(), quantizer("ternary(alpha='auto_po2')"));
    for kept in ["quantized_bits(4,alpha=1.0)", "quantized_po2(4)", "ternary(threshold=0.5,alpha=2)"] {
        assert_eq!(quantizer(kept).as_kernel(), quantizer(kept));
    }
}

#[test]
fn fixed_point_has_as_many_values_as_codes() {
    assert_eq!(quantizer("quantized_bits(2,0)").range(), Some(vec![0.0, 0.5, -1.0, -0.5]));
    assert_eq!(quantizer("quantized_relu(2,1)").range(), Some(vec![0.0, 0.5, 1.0, 1.5]));
    assert_eq!(quantizer("quantized_bits(2,0,1)").range(), None);
    assert_eq!(quantizer("quantized_bits(2,alpha=0.5)").range(), None);
}

#[test]
fn floats_print_as_in_python() {
    for (value, printed) in
        [(1.0, "1.0"), (0.1, "0.1"), (1e-7, "1e-07"), (1e16, "1e+16"), (1.5e-5, "1.5e-05")]
    {
        assert_eq!(literal::python_float(value), printed);
    }
}
