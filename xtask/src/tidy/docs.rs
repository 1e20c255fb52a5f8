//! Documentation: the opening of each file, and every public item.

use syn::visit::{self, Visit};
use syn::{
    Attribute, Field, ImplItemConst, ImplItemFn, Item, ItemMod, TraitItem, Variant, Visibility,
};

use super::Violation;
use super::source::SourceFile;
use super::surface::{Surface, is_public};

/// Crates in which every public item is documented; elsewhere nine of ten must be.
pub(crate) const COMPLETE: [&str; 5] = ["protocol", "meter", "ledger", "sdk", "sdk/guest"];

/// A public item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicItem {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) documented: bool,
}

/// A file that does not say what it is for.
pub(crate) fn check_opening(file: &SourceFile) -> Vec<Violation> {
    let opening = file.text.lines().next().and_then(|line| line.strip_prefix("//!"));
    if opening.is_some_and(|text| text.trim().len() >= 8) {
        return Vec::new();
    }
    let advice = "start with `//!` and a sentence on what the file is for";
    file.violation(1, "file-docs", advice).into_iter().collect()
}

/// Items outside test code that other crates can reach. Modules are left out: their files open
/// with `//!`.
pub(crate) fn public_items(file: &SourceFile, surface: &Surface) -> Vec<PublicItem> {
    let open = surface.is_open(file);
    let mut collector = Collector { file, surface, open, found: Vec::new() };
    collector.visit_file(&file.syntax);
    collector.found
}

struct Collector<'a> {
    file: &'a SourceFile,
    surface: &'a Surface,
    /// All modules around are public.
    open: bool,
    found: Vec<PublicItem>,
}

impl Collector<'_> {
    fn add(&mut self, name: &syn::Ident, attributes: &[Attribute]) {
        let line = name.span().start().line;
        let hidden = attributes.iter().any(is_hidden);
        if hidden || self.file.is_test(line) || self.file.is_excused(line) {
            return;
        }
        let documented = attributes.iter().any(|a| a.path().is_ident("doc"));
        self.found.push(PublicItem { name: name.to_string(), line, documented });
    }

    fn visit_module(&mut self, module: &ItemMod) {
        let around = self.open;
        self.open &= is_public(&module.vis);
        visit::visit_item_mod(self, module);
        self.open = around;
    }

    fn add_public(&mut self, visibility: &Visibility, name: &syn::Ident, attributes: &[Attribute]) {
        if is_public(visibility) {
            self.add(name, attributes);
        }
    }
}

fn is_hidden(attribute: &Attribute) -> bool {
    let list = attribute.meta.require_list();
    attribute.path().is_ident("doc") && list.is_ok_and(|l| l.tokens.to_string() == "hidden")
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) => return self.visit_module(module),
            Item::Impl(block)
                if block.trait_.is_none() && self.surface.shows_type(&block.self_ty) => {}
            _ => match named(item) {
                Some((vis, name, attributes))
                    if is_public(vis) && self.surface.shows(self.open, name) =>
                {
                    self.add(name, attributes);
                }
                _ => return,
            },
        }
        if !matches!(item, Item::Fn(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        self.add(&variant.ident, &variant.attrs);
        for field in &variant.fields {
            if let Some(name) = &field.ident {
                self.add(name, &field.attrs);
            }
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if let Some(name) = &field.ident {
            self.add_public(&field.vis, name, &field.attrs);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        match item {
            TraitItem::Const(i) => self.add(&i.ident, &i.attrs),
            TraitItem::Fn(i) => self.add(&i.sig.ident, &i.attrs),
            TraitItem::Type(i) => self.add(&i.ident, &i.attrs),
            _ => {}
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.add_public(&function.vis, &function.sig.ident, &function.attrs);
    }

    fn visit_impl_item_const(&mut self, item: &'ast ImplItemConst) {
        self.add_public(&item.vis, &item.ident, &item.attrs);
    }
}

type Named<'a> = (&'a Visibility, &'a syn::Ident, &'a [Attribute]);

fn named(item: &Item) -> Option<Named<'_>> {
    match item {
        Item::Const(i) => Some((&i.vis, &i.ident, &i.attrs)),
        Item::Enum(i) => Some((&i.vis, &i.ident, &i.attrs)),
        Item::Fn(i) => Some((&i.vis, &i.sig.ident, &i.attrs)),
        Item::Static(i) => Some((&i.vis, &i.ident, &i.attrs)),
        Item::Struct(i) => Some((&i.vis, &i.ident, &i.attrs)),
        Item::Trait(i) => Some((&i.vis, &i.ident, &i.attrs)),
        Item::Type(i) => Some((&i.vis, &i.ident, &i.attrs)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::parse("a/src/lib.rs", text.to_owned()).unwrap()
    }

    fn items(text: &str) -> Vec<PublicItem> {
        let file = file(text);
        public_items(&file, &Surface::of(std::iter::once(&file)))
    }

    fn undocumented(text: &str) -> Vec<String> {
        let items = items(text);
        items.into_iter().filter(|item| !item.documented).map(|item| item.name).collect()
    }

    #[test]
    fn every_kind_of_public_item_counts() {
        let text = "pub fn a() {} pub struct B { pub c: u8, d: u8 } pub enum E { F, G { h: u8 } } \
                    pub trait I { fn j(); const K: u8; type L; } pub const M: u8 = 0; pub type N = u8; \
                    impl B { pub fn o() {} pub const P: u8 = 0; fn q() {} } pub static R: u8 = 0;";
        let all = ["a", "B", "c", "E", "F", "G", "h", "I", "j", "K", "L", "M", "N", "o", "P", "R"];
        assert_eq!(undocumented(text), all);
    }

    #[test]
    fn private_crate_wide_hidden_documented_and_test_items_do_not() {
        let text = "fn a() {} pub(crate) fn b() {} #[doc(hidden)] pub fn c() {} /// D\npub fn d() {}\n\
                    #[cfg(test)]\npub fn e() {}\nstruct F { pub g: u8 }\nimpl I for F { fn j() {} } impl F { pub fn k() {} }\n\
                    mod m { pub fn n() {} }";
        assert_eq!(undocumented(text), Vec::<String>::new());
        assert_eq!(items(text).len(), 1);
    }

    #[test]
    fn a_file_opens_with_a_sentence() {
        assert!(check_opening(&file("//! What this is for.\nfn a() {}")).is_empty());
        for bad in ["fn a() {}", "//!\nfn a() {}", "// What\nfn a() {}", ""] {
            assert_eq!(check_opening(&file(bad)).len(), 1, "{bad}");
        }
    }
}
