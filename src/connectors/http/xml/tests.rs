//! What documents are read as, and what trees are written as.

use super::spec::XmlSpec;
use super::*;
use crate::model::document::{Problems, Table, parse};
use crate::model::value::Value;

fn spec(toml: &str) -> XmlSpec {
    let problems = Problems::new();
    let document = parse(toml, &problems);
    let spec = XmlSpec::parse(Table::top(&document, &problems));
    assert!(problems.is_empty(), "{problems:?}");
    spec
}

fn read(toml: &str, xml: &str) -> String {
    to_json(&spec(toml), xml).unwrap_or_else(|reason| panic!("{xml}: {reason}"))
}

#[test]
fn a_document_is_read_by_one_rule() {
    for (xml, want) in [
        ("<a>x</a>", r#"{"a":"x"}"#),
        ("\u{feff}<?xml version=\"1.0\"?>\n<!-- c --><a> x\n y </a>\n<!-- d -->", r#"{"a":" x\n y "}"#),
        ("<a/>", r#"{"a":null}"#),
        ("<a>  \n </a>", r#"{"a":null}"#),
        ("<a><![CDATA[ ]]></a>", r#"{"a":" "}"#),
        ("<a><![CDATA[<b>&amp;</b>]]>&lt;&#x41;&#66;&amp;&quot;&apos;</a>", r#"{"a":"<b>&amp;</b><AB&\"'"}"#),
        ("<a><b>1</b><c>2</c><b>3</b></a>", r#"{"a":{"b":["1","3"],"c":"2"}}"#),
        ("<a x=\"1\" y='&lt;2'/>", r#"{"a":{"@x":"1","@y":"<2"}}"#),
        ("<a x=\"1\">t</a>", r##"{"a":{"@x":"1","#text":"t"}}"##),
        ("<a>one <b>two</b> three</a>", r##"{"a":{"b":"two","#text":"one  three"}}"##),
        ("<p:a xmlns:p=\"urn:p\" xmlns=\"urn:q\"><p:b p:x=\"1\"/><b/></p:a>", r#"{"a":{"b":[{"@x":"1"},null]}}"#),
        (
            "<a xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\"><b i:nil=\"true\">x</b><c i:type=\"t\">1</c><d i:nil=\"false\">2</d></a>",
            r#"{"a":{"b":null,"c":"1","d":"2"}}"#,
        ),
        ("<a>\r\nx\ry</a>", r#"{"a":"\nx\ny"}"#),
        ("<ä>é</ä>", r#"{"ä":"é"}"#),
        ("<?xml-stylesheet href=\"x\"?><a/>", r#"{"a":null}"#),
    ] {
        assert_eq!(read("", xml), want, "{xml}");
    }
}

#[test]
fn what_is_declared_has_one_shape() {
    let lists = "lists = [\"a.b\", \"a.b.c\"]";
    for (toml, xml, want) in [
        (lists, "<a><b><c>1</c></b></a>", r#"{"a":{"b":[{"c":["1"]}]}}"#),
        (lists, "<a><b/><b><c/><c>2</c></b></a>", r#"{"a":{"b":[{"c":[]},{"c":[null,"2"]}]}}"#),
        (lists, "<a/>", r#"{"a":{"b":[]}}"#),
        (lists, "<x/>", r#"{"x":null}"#),
        ("texts = \"a.b\"", "<a><b x=\"1\">t</b></a>", r#"{"a":{"b":"t"}}"#),
        ("texts = \"a.b\"", "<a><b x=\"1\"/></a>", r#"{"a":{"b":null}}"#),
        ("objects = \"a.b\"", "<a><b>t</b></a>", r##"{"a":{"b":{"#text":"t"}}}"##),
        ("objects = \"a.b\"", "<a><b/></a>", r#"{"a":{"b":{}}}"#),
        (
            "prefixes = { \"urn:p\" = \"q\" }\nlists = [\"q:a.b\"]",
            "<x:a xmlns:x=\"urn:p\"><b x:y=\"1\" y=\"2\"/></x:a>",
            r#"{"q:a":{"b":[{"@q:y":"1","@y":"2"}]}}"#,
        ),
    ] {
        assert_eq!(read(toml, xml), want, "{toml}: {xml}");
    }
}

#[test]
fn what_is_not_taken_is_told() {
    let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
    let deeper = "<a>".repeat(1_000_000);
    let wide = format!("<a>{}</a>", "<b/>".repeat(500_001));
    let many = format!("<a {}/>", (0..257).map(|i| format!("x{i}=\"\" ")).collect::<String>());
    let bound = format!("<a {}/>", (0..10_000).map(|i| format!("xmlns:x{i}=\"u\" ")).collect::<String>());
    // https://en.wikipedia.org/wiki/Billion_laughs_attack
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><l>&b;</l>";
    for (xml, want) in [
        ("", "there is no element"),
        ("x", "text outside of the document"),
        ("<a>", "the document ends within <a>"),
        ("<a></b>", "at byte"),
        ("</a>", "at byte"),
        ("<a/>x", "text outside"),
        ("<a/><b/>", "<b> after the end of the document"),
        ("<a>&b;</a>", "the entity '&b;' is not known"),
        ("<a x=\"&b;\"/>", "b"),
        ("<a>&#0;</a>", "at byte"),
        ("<a>& b</a>", "at byte"),
        ("<a x=\"1\" x=\"2\"/>", "<a> has two attributes 'x'"),
        ("<a xmlns:p=\"u\" p:x=\"1\" x=\"2\"/>", "<a> has two attributes 'x'"),
        ("<a x=1/>", "at byte"),
        ("<!DOCTYPE a><a/>", "a document type, which is not taken"),
        ("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", "a document type, which is not taken"),
        (laughs, "a document type, which is not taken"),
        ("<HTML><body/></HTML>", "a page of HTML"),
        (&deep, "elements nested deeper than 128 levels"),
        (&deeper, "elements nested deeper than 128 levels"),
        (&wide, "more than 500000 elements and attributes"),
        (&many, "<a> has more than 256 attributes"),
        (&bound, "at byte"),
    ] {
        let reason = to_json(&XmlSpec::default(), xml).unwrap_err();
        let shown: String = xml.chars().take(60).collect();
        assert!(reason.contains(want), "{shown}: {reason}");
    }
}

#[test]
fn a_tree_is_written_and_read_back() {
    for (tree, want) in [
        (r#"{"a":"x < y & \"z\" > \r\n\tw"}"#, "<a>x &lt; y &amp; &quot;z&quot; &gt; &#13;\n\tw</a>"),
        (
            r#"{"a":{"@x":"1\n\t\"","b":[1.50,true,null,{"c":""}],"d":{}}}"#,
            "<a x=\"1&#10;&#9;&quot;\"><b>1.50</b><b>true</b><b/><b><c></c></b><d></d></a>",
        ),
        (r##"{"p:a":{"@xmlns:p":"urn:p","@n":null,"#text":"t","b":[]}}"##, "<p:a xmlns:p=\"urn:p\">t</p:a>"),
        (r#"{"a":null}"#, "<a/>"),
    ] {
        let xml = to_xml(&Value::from_json(tree).unwrap()).unwrap();
        assert_eq!(xml, format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{want}"), "{tree}");
        assert!(to_json(&XmlSpec::default(), &xml).is_ok(), "{xml}");
    }
    for (tree, want) in [
        ("[]", "needs one key at its top"),
        (r#"{"a":1,"b":2}"#, "needs one key at its top"),
        (r#"{"a":[1]}"#, "needs one key at its top"),
        (r#"{"@a":1}"#, "needs one key at its top"),
        (r#"{"a":{"b c":1}}"#, "'b c' is no name of an element"),
        (r#"{"a":{"b><c":1}}"#, "'b><c' is no name of an element"),
        (r#"{"a":{"1":1}}"#, "'1' is no name of an element"),
        (r#"{"a":{"a:b:c":1}}"#, "'a:b:c' is no name of an element"),
        (r#"{"a":{"@x y":1}}"#, "'x y' is no name of an attribute"),
        (r#"{"a":{"@x":[1]}}"#, "the attribute 'x' is list"),
        (r##"{"a":{"#text":{}}}"##, "the text of 'a' is object"),
        (r#"{"a":{"b":[[1]]}}"#, "'b' is a list of lists"),
        (r#"{"a":"\u0000"}"#, "the character \\u{0} cannot stand in XML"),
    ] {
        let reason = to_xml(&Value::from_json(tree).unwrap()).unwrap_err();
        assert!(reason.contains(want), "{tree}: {reason}");
    }
}

/// A text that XML can say comes back as it was, whatever it is.
#[test]
fn texts_survive() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let alphabet: Vec<char> = "ab <>&\"'\r\n\t]]>é\u{85}\u{2028}\u{1F600}#;x".chars().collect();
    for _ in 0..2_000 {
        let mut text = |least: usize| -> String {
            (0..random.usize(least..12)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
        };
        let (inner, attribute) = (text(1), text(0));
        let tree = Value::Object(vec![(
            "a".to_owned(),
            Value::Object(vec![
                ("@x".to_owned(), Value::string(attribute.as_str())),
                ("b".to_owned(), Value::string(inner.as_str())),
            ]),
        )]);
        let read = Value::from_json(&to_json(&XmlSpec::default(), &to_xml(&tree).unwrap()).unwrap()).unwrap();
        // Spaces alone are nothing.
        let want = if inner.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
            Value::Null
        } else {
            Value::string(inner.as_str())
        };
        assert_eq!(read.get(&"a.b".parse().unwrap()), Some(&want), "seed {seed}: {tree}");
        assert_eq!(read.get(&"a.@x".parse().unwrap()), Some(&Value::string(attribute.as_str())), "seed {seed}: {tree}");
    }
}

/// No answer makes the reader panic or nest without end.
#[test]
fn broken_documents_do_no_harm() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "<a",
        "<a>",
        "</a>",
        "<b x=\"",
        "\"",
        ">",
        "/>",
        "<![CDATA[",
        "]]>",
        "&",
        ";",
        "&#x",
        "<!--",
        "-->",
        "<?x",
        "?>",
        "<!DOCTYPE",
        "[",
        "é",
        " ",
        "xmlns:p=\"u\"",
        "p:",
    ];
    for _ in 0..5_000 {
        let xml: String = (0..random.usize(..20)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        drop(to_json(&XmlSpec::default(), &xml));
    }
}
