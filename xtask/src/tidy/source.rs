//! One parsed source file: which of its lines are test code, and which are excused from what.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use anyhow::Context;
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ImplItem, Item, Local, Stmt, TraitItem};

use super::Violation;

/// Marks an exception; the reason follows.
const EXCUSE: &str = "// tidy: ";

/// A file with what all checks need to know about it.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
    /// The whole file is test code.
    pub(crate) test: bool,
    test_lines: Vec<RangeInclusive<usize>>,
    expected: Vec<(RangeInclusive<usize>, String)>,
    test_modules: Vec<String>,
}

impl SourceFile {
    /// Parses a file at a path relative to the root.
    pub(crate) fn parse(path: &str, text: String) -> anyhow::Result<Self> {
        let syntax = syn::parse_file(&text).with_context(|| format!("failed to parse {path}"))?;
        let mut marks = Marks::default();
        marks.note_expectations(&syntax.attrs, 1..=usize::MAX);
        marks.visit_file(&syntax);
        let folder = module_folder(path);
        let test_modules = marks.test_modules.iter().map(|name| format!("{folder}/{name}"));
        Ok(Self {
            path: path.to_owned(),
            test: is_test_path(path) || syntax.attrs.iter().any(is_test_attribute),
            test_lines: marks.test_lines,
            expected: marks.expected,
            test_modules: test_modules.collect(),
            text,
            syntax,
        })
    }

    /// The crate's folder, the unit of the table: everything before `src`, `tests` and so on.
    pub(crate) fn crate_folder(&self) -> &str {
        let inside = ["/src/", "/tests/", "/benches/", "/build.rs"];
        let end = inside.iter().filter_map(|part| self.path.find(part)).min();
        end.map_or("", |end| &self.path[..end])
    }

    /// Whether a line belongs to test code.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.test || self.test_lines.iter().any(|range| range.contains(&line))
    }

    /// Lines of test code inside a file that is otherwise none.
    pub(crate) fn test_line_count(&self) -> usize {
        let lines: BTreeSet<usize> = self.test_lines.iter().cloned().flatten().collect();
        lines.len()
    }

    /// Whether `#[expect(clippy::LINT, reason = …)]` covers a line.
    pub(crate) fn expects(&self, line: usize, lint: &str) -> bool {
        self.expected.iter().any(|(range, name)| name == lint && range.contains(&line))
    }

    /// Whether the comment above a line, skipping attributes and docs, is an exception.
    pub(crate) fn is_excused(&self, line: usize) -> bool {
        let above: Vec<&str> = self.text.lines().take(line.saturating_sub(1)).collect();
        let mut comments = above.iter().rev().map(|text| text.trim_start());
        comments
            .by_ref()
            .take_while(|text| text.starts_with("#[") || text.starts_with("//"))
            .any(|text| text.strip_prefix(EXCUSE).is_some_and(|reason| reason.len() >= 8))
    }

    /// Exceptions in the file.
    pub(crate) fn excuse_count(&self) -> usize {
        self.text.lines().filter(|line| line.trim_start().starts_with(EXCUSE)).count()
    }

    /// A violation here, unless it is excused.
    pub(crate) fn violation(
        &self,
        line: usize,
        rule: &'static str,
        advice: impl Into<String>,
    ) -> Option<Violation> {
        let advice = advice.into();
        (!self.is_excused(line)).then(|| Violation { path: self.path.clone(), line, rule, advice })
    }
}

/// Marks the files that other files include as test modules.
pub(crate) fn mark_test_modules(files: &mut [SourceFile]) {
    let modules: Vec<String> = files.iter().flat_map(|file| file.test_modules.clone()).collect();
    for file in files {
        let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let inside = |module: &String| {
            stem == module || stem.strip_prefix(module.as_str()).is_some_and(|s| s.starts_with('/'))
        };
        file.test |= modules.iter().any(inside);
    }
}

/// Where the modules a file declares are.
pub(crate) fn module_folder(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let owner = ["/lib", "/main", "/mod"].iter().find_map(|name| stem.strip_suffix(name));
    owner.unwrap_or(stem).to_owned()
}

fn is_test_path(path: &str) -> bool {
    // A crate of its own, whose program is no test.
    let path = path.strip_prefix("benches/src/").unwrap_or(path);
    let folders = ["tests/", "benches/", "fuzz/"];
    folders.iter().any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]` and `#[cfg(any(test, …))]`.
fn is_test_attribute(attribute: &Attribute) -> bool {
    let path = attribute.path();
    if path.is_ident("cfg") {
        let condition = attribute.meta.to_token_stream_text();
        return condition.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "test")
            && !condition.contains("not (test");
    }
    path.segments.last().is_some_and(|segment| segment.ident == "test")
}

trait TokenText {
    fn to_token_stream_text(&self) -> String;
}

impl TokenText for syn::Meta {
    fn to_token_stream_text(&self) -> String {
        match self {
            Self::List(list) => list.tokens.to_string(),
            _ => String::new(),
        }
    }
}

/// Collects the line ranges of test code and of expectations.
#[derive(Default)]
struct Marks {
    test_lines: Vec<RangeInclusive<usize>>,
    expected: Vec<(RangeInclusive<usize>, String)>,
    test_modules: Vec<String>,
}

impl Marks {
    fn note(&mut self, attributes: &[Attribute], span: Span) {
        let first = attributes.iter().map(|a| a.span().start().line).min();
        let range = first.unwrap_or(usize::MAX).min(span.start().line)..=span.end().line;
        if attributes.iter().any(is_test_attribute) {
            self.test_lines.push(range.clone());
        }
        self.note_expectations(attributes, range);
    }

    fn note_expectations(&mut self, attributes: &[Attribute], range: RangeInclusive<usize>) {
        for attribute in attributes.iter().filter(|a| a.path().is_ident("expect")) {
            let text = attribute.meta.to_token_stream_text();
            if text.contains("reason =") {
                let lints =
                    text.split(',').filter_map(|lint| lint.trim().strip_prefix("clippy :: "));
                self.expected.extend(lints.map(|lint| (range.clone(), lint.to_owned())));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Marks {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = item_attributes(item);
        self.note(attributes, item.span());
        if let Item::Mod(module) = item
            && module.content.is_none()
            && attributes.iter().any(is_test_attribute)
        {
            self.test_modules.push(module.ident.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(function) = item {
            self.note(&function.attrs, function.span());
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if let TraitItem::Fn(function) = item {
            self.note(&function.attrs, function.span());
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_local(&mut self, local: &'ast Local) {
        self.note(&local.attrs, local.span());
        visit::visit_local(self, local);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Macro(statement) = statement {
            self.note(&statement.attrs, statement.span());
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        self.note(expression_attributes(expression), expression.span());
        visit::visit_expr(self, expression);
    }
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Attributes of the expressions that statements and match arms commonly are.
fn expression_attributes(expression: &Expr) -> &[Attribute] {
    match expression {
        Expr::Block(expression) => &expression.attrs,
        Expr::Call(expression) => &expression.attrs,
        Expr::If(expression) => &expression.attrs,
        Expr::Macro(expression) => &expression.attrs,
        Expr::Match(expression) => &expression.attrs,
        Expr::MethodCall(expression) => &expression.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::parse("some/src/lib.rs", text.to_owned()).unwrap()
    }

    #[test]
    fn test_items_are_recognised_and_others_not() {
        let source = file(
            "#[cfg(test)]\nmod tests {\n}\n#[test]\nfn a() {}\n#[tokio::test]\nasync fn b() {}\n\
             #[cfg(any(test, unix))]\nfn c() {}\n#[cfg(not(test))]\nfn d() {}\n#[cfg(unix)]\nfn e() {}\n",
        );
        let tests: Vec<usize> = (1..=13).filter(|line| source.is_test(*line)).collect();
        assert_eq!(tests, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn out_of_line_test_modules_mark_their_files() {
        let parse = |path: &str, text: &str| SourceFile::parse(path, text.to_owned()).unwrap();
        let mut files = [
            parse("a/src/lib.rs", "#[cfg(test)]\nmod tests;\nmod code;"),
            parse("a/src/tests.rs", ""),
            parse("a/src/tests/deep.rs", ""),
            parse("a/src/code.rs", "#[cfg(test)]\nmod checks;"),
            parse("a/src/code/checks.rs", ""),
            parse("a/src/tests_of_ours.rs", ""),
            parse("a/tests/it.rs", ""),
        ];
        mark_test_modules(&mut files);
        let tests: Vec<bool> = files.iter().map(|file| file.test).collect();
        assert_eq!(tests, [false, true, true, false, true, false, true]);
    }

    #[test]
    fn expectations_cover_their_node_and_need_a_reason() {
        let source = file(
            "#[expect(clippy::expect_used, reason = \"why\")]\nfn a() {\n    b();\n}\n\
             #[expect(clippy::expect_used)]\nfn c() {}\n",
        );
        assert!(source.expects(3, "expect_used"));
        assert!(!source.expects(3, "panic"));
        assert!(!source.expects(6, "expect_used"));
    }

    #[test]
    fn excuses_stand_above_attributes_and_need_a_reason() {
        let source = file(
            "// tidy: a table reads best in one piece\n#[inline]\nfn a() {}\nfn b() {}\n// tidy: x\nfn c() {}\n",
        );
        assert!(source.is_excused(3));
        assert!(!source.is_excused(4));
        assert!(!source.is_excused(6));
        assert!(source.violation(3, "rule", "advice").is_none());
        assert_eq!(source.violation(4, "rule", "advice").unwrap().line, 4);
    }

    #[test]
    fn crates_are_folders() {
        let folder = |path: &str| {
            let file = SourceFile::parse(path, String::new()).unwrap();
            file.crate_folder().to_owned()
        };
        assert_eq!(folder("sdk/guest/src/lib.rs"), "sdk/guest");
        assert_eq!(folder("meter/tests/spec.rs"), "meter");
    }
}
