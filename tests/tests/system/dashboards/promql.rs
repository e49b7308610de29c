//! What an expression of Prometheus asks for: metrics, and labels.

use std::collections::BTreeSet;

/// Words of the language that are not metrics.
const WORDS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];
/// Words that are followed by labels in brackets.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// A metric that an expression reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    /// Label, operator and value.
    pub(super) matchers: Vec<(String, String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

/// The metrics of an expression, and the labels by which it groups or matches them.
pub(super) fn parts(expression: &str) -> (Vec<Selector>, BTreeSet<String>) {
    let tokens = tokens(expression);
    let (mut selectors, mut labels) = (Vec::new(), BTreeSet::new());
    let mut rest = tokens.as_slice();
    while let [first, after @ ..] = rest {
        rest = after;
        let Token::Word(word) = first else { continue };
        let is_before = |sign: &str| matches!(after.first(), Some(Token::Sign(found)) if found == sign);
        if BEFORE_LABELS.contains(&word.as_str()) {
            let end = after.iter().position(|token| *token == Token::Sign(")".to_owned())).unwrap_or(after.len());
            labels.extend(after[..end].iter().filter_map(|token| match token {
                Token::Word(label) => Some(label.clone()),
                _ => None,
            }));
            rest = &after[end..];
        } else if is_before("{") {
            let end = after.iter().position(|token| *token == Token::Sign("}".to_owned())).unwrap_or(after.len());
            selectors.push(Selector { metric: word.clone(), matchers: matchers(&after[1..end]) });
            rest = &after[end..];
        } else if !is_before("(") && !WORDS.contains(&word.as_str()) && !is_aggregation(after) {
            selectors.push(Selector { metric: word.clone(), matchers: Vec::new() });
        }
    }
    (selectors, labels)
}

/// `sum by (queue) (…)`: labels may come before the brackets.
fn is_aggregation(after: &[Token]) -> bool {
    matches!(after.first(), Some(Token::Word(next)) if ["by", "without"].contains(&next.as_str()))
}

fn matchers(tokens: &[Token]) -> Vec<(String, String, String)> {
    let comma = Token::Sign(",".to_owned());
    let one = |matcher: &[Token]| match matcher {
        [Token::Word(label), Token::Sign(operator), Token::Text(value)] => {
            (label.clone(), operator.clone(), value.clone())
        }
        [] => panic!("a matcher between two commas: {tokens:?}"),
        other => panic!("no matcher: {other:?}"),
    };
    tokens.split(|token| *token == comma).filter(|matcher| !matcher.is_empty()).map(one).collect()
}

fn tokens(text: &str) -> Vec<Token> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_:.".contains(letter);
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            let end = rest[1..].find('"').unwrap_or_else(|| panic!("an open text: {text}")) + 1;
            found.push(Token::Text(rest[1..end].to_owned()));
            end + 1
        } else if is_part(first) {
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            // Numbers and times, as 0.95 and 5m, are neither metric nor label.
            if !first.is_ascii_digit() {
                found.push(Token::Word(rest[..end].to_owned()));
            }
            end
        } else {
            let is_operator = |letter: char| "=!~<>".contains(letter);
            let end = if is_operator(first) {
                rest.find(|letter| !is_operator(letter)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            found.push(Token::Sign(rest[..end].to_owned()));
            end
        };
        rest = rest[length..].trim_start();
    }
    found
}

#[test]
fn metrics_and_labels_of_an_expression_are_found() {
    let expression = r#"1 - (sum by (queue, le) (rate(one_total{queue="a b",status=~"5.."}[5m])) or vector(0))
        / on (queue) two_rows > 0.5 and max_over_time(three[1h:1m])"#;
    let (selectors, labels) = parts(expression);
    let names: Vec<_> = selectors.iter().map(|selector| selector.metric.as_str()).collect();
    assert_eq!(names, ["one_total", "two_rows", "three"]);
    let matcher = |label: &str, operator: &str, value: &str| (label.to_owned(), operator.to_owned(), value.to_owned());
    assert_eq!(selectors[0].matchers, [matcher("queue", "=", "a b"), matcher("status", "=~", "5..")]);
    assert_eq!(labels, BTreeSet::from(["le".to_owned(), "queue".to_owned()]));
}
