//! A flat view of a file's tokens, macro bodies included, for checks that look for words.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::source::SourceFile;

/// A token and the line it starts on. A group is its opening and closing token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) last_line: usize,
    pub(crate) literal: bool,
}

/// All tokens of a file in order. Doc comments come as `#[doc = "…"]` and are left out.
pub(crate) fn of(file: &SourceFile) -> Vec<Token> {
    let mut tokens = Vec::new();
    if let Ok(stream) = file.text.parse::<TokenStream>() {
        flatten(stream, &mut tokens);
    }
    tokens
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) if is_doc(&group) => {}
            TokenTree::Group(group) => {
                let (open, close) = brackets(group.delimiter());
                let (first, last) =
                    (group.span_open().start().line, group.span_close().start().line);
                tokens.push(token(open, first));
                flatten(group.stream(), tokens);
                tokens.push(token(close, last));
            }
            TokenTree::Literal(literal) => {
                let (line, last_line) = (literal.span().start().line, literal.span().end().line);
                tokens.push(Token { text: literal.to_string(), line, last_line, literal: true });
            }
            other => tokens.push(token(&other.to_string(), other.span().start().line)),
        }
    }
}

fn is_doc(group: &proc_macro2::Group) -> bool {
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(ident)) if ident == "doc")
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

fn token(text: &str, line: usize) -> Token {
    Token { text: text.to_owned(), line, last_line: line, literal: false }
}

/// Lines on which `words` start as consecutive tokens.
pub(crate) fn occurrences<'a>(
    tokens: &'a [Token],
    words: &'a [&str],
) -> impl Iterator<Item = usize> + 'a {
    let found = move |window: &&[Token]| {
        window.iter().zip(words).all(|(token, word)| token.text == *word && !token.literal)
    };
    tokens.windows(words.len()).filter(found).map(|window| window[0].line)
}

/// The value of a string literal, or nothing for other tokens.
pub(crate) fn string(token: &Token) -> Option<String> {
    let literal: syn::Lit = token.literal.then(|| syn::parse_str(&token.text).ok())??;
    match literal {
        syn::Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        of(&SourceFile::parse("a/src/lib.rs", text.to_owned()).unwrap())
    }

    #[test]
    fn words_are_found_inside_macros_and_not_inside_docs_or_strings() {
        let all =
            tokens("/// x.unwrap()\nfn a() {\n let s = \"x.unwrap()\";\n vec![s.unwrap()];\n}");
        let lines: Vec<usize> = occurrences(&all, &[".", "unwrap", "("]).collect();
        assert_eq!(lines, [4]);
    }

    #[test]
    fn strings_are_unquoted() {
        let all = tokens("const A: &str = r#\"a \"b\"\"#; const B: u8 = 1;");
        let strings: Vec<String> = all.iter().filter_map(string).collect();
        assert_eq!(strings, ["a \"b\""]);
    }
}
