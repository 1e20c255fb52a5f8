//! Lengths of functions and files, and numbers of parameters.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

use super::Violation;
use super::source::SourceFile;

/// Longest function, in lines from its signature to its closing brace.
pub(crate) const MAX_FUNCTION: usize = 60;
const MAX_PARAMETERS: usize = 5;
const MAX_FILE: usize = 500;

/// One function outside test code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
    pub(crate) parameters: usize,
}

impl Function {
    /// What is wrong with it by itself.
    pub(crate) fn violations(&self, file: &SourceFile) -> Vec<Violation> {
        let Self { name, line, lines, parameters } = self;
        let long = (*lines > MAX_FUNCTION).then(|| {
            let advice = format!("`{name}` has {lines} lines; at most {MAX_FUNCTION}: split it");
            file.violation(*line, "function-length", advice)
        });
        let wide = (*parameters > MAX_PARAMETERS).then(|| {
            let advice = format!("`{name}` has {parameters}; at most {MAX_PARAMETERS}: group them");
            file.violation(*line, "parameters", advice)
        });
        [long, wide].into_iter().flatten().flatten().collect()
    }
}

/// The functions of a file outside test code.
pub(crate) fn functions(file: &SourceFile) -> Vec<Function> {
    let mut collector = Collector { file, found: Vec::new() };
    collector.visit_file(&file.syntax);
    collector.found
}

/// A file that is too long without its tests.
pub(crate) fn check_file(file: &SourceFile) -> Vec<Violation> {
    let lines = file.text.lines().count().saturating_sub(file.test_line_count());
    if file.test || lines <= MAX_FILE {
        return Vec::new();
    }
    let advice = format!("{lines} lines without tests; at most {MAX_FILE}: split it by topic");
    file.violation(1, "file-length", advice).into_iter().collect()
}

struct Collector<'a> {
    file: &'a SourceFile,
    found: Vec<Function>,
}

impl Collector<'_> {
    fn add(&mut self, signature: &Signature, body: &Block) {
        let line = signature.span().start().line;
        if self.file.is_test(line) {
            return;
        }
        self.found.push(Function {
            name: signature.ident.to_string(),
            line,
            lines: body.span().end().line - line + 1,
            parameters: signature.inputs.len(),
        });
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::parse("a/src/lib.rs", text.to_owned()).unwrap()
    }

    fn rules(text: &str) -> Vec<&'static str> {
        let file = file(text);
        let found = functions(&file);
        found.iter().flat_map(|f| f.violations(&file)).map(|v| v.rule).collect()
    }

    #[test]
    fn a_function_is_measured_from_its_signature_to_its_brace() {
        let file = file(
            "/// Doc\n#[inline]\npub fn a(\n    x: u8,\n) {\n    x;\n}\nimpl B { fn b(&self) {} }\n",
        );
        let measured: Vec<_> =
            functions(&file).iter().map(|f| (f.line, f.lines, f.parameters)).collect();
        assert_eq!(measured, [(3, 5, 1), (8, 1, 1)]);
    }

    #[test]
    fn sixty_lines_pass_and_sixty_one_do_not_unless_excused() {
        let body = |lines: usize| format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
        assert!(rules(&body(60)).is_empty());
        assert_eq!(rules(&body(61)), ["function-length"]);
        assert!(rules(&format!("// tidy: one table, no logic\n{}", body(61))).is_empty());
        assert!(rules(&format!("#[test]\n{}", body(61))).is_empty());
    }

    #[test]
    fn five_parameters_pass_and_six_do_not() {
        assert!(rules("fn a(b: u8, c: u8, d: u8, e: u8, f: u8) {}").is_empty());
        assert_eq!(
            rules("trait T { fn a(&self, b: u8, c: u8, d: u8, e: u8, f: u8) {} }"),
            ["parameters"]
        );
    }

    #[test]
    fn files_count_without_their_tests() {
        let long = "fn a() {}\n".repeat(500);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn b() {}\n".repeat(400));
        assert!(check_file(&file(&format!("{long}{tests}"))).is_empty());
        assert_eq!(check_file(&file(&format!("{long}fn c() {{}}\n")))[0].rule, "file-length");
    }
}
