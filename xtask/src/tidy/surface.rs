//! Which `pub` items of a crate can be reached from outside it: those in public modules, and
//! those that a `pub use` names. By name, which is exact as long as a crate uses a name once.

use std::collections::BTreeSet;

use syn::{Ident, Item, ItemMod, UseTree, Visibility};

use super::source::{SourceFile, module_folder};

/// What one crate shows to others.
#[derive(Debug, Default)]
pub(crate) struct Surface {
    /// Path stems of modules that are not public.
    private: Vec<String>,
    /// Names in `pub use`.
    exported: BTreeSet<String>,
    /// Public types; their inherent functions are public too.
    types: BTreeSet<String>,
}

impl Surface {
    /// Looks through all files of one crate.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a SourceFile> + Clone) -> Self {
        let mut surface = Self::default();
        for file in files.clone() {
            surface.note_modules(&module_folder(&file.path), &file.syntax.items);
        }
        for file in files {
            let open = surface.is_open(file);
            surface.note_types(open, &file.syntax.items);
        }
        surface
    }

    /// Whether all modules from the crate's root down to a file are public.
    pub(crate) fn is_open(&self, file: &SourceFile) -> bool {
        let stem = module_folder(&file.path);
        let inside = |module: &String| {
            stem == *module
                || stem.strip_prefix(module.as_str()).is_some_and(|s| s.starts_with('/'))
        };
        !self.private.iter().any(inside)
    }

    /// Whether an item of this name in a module can be reached.
    pub(crate) fn shows(&self, open: bool, name: &Ident) -> bool {
        open || self.exported.contains(&name.to_string())
    }

    /// Whether `impl NAME` adds to the surface.
    pub(crate) fn shows_type(&self, ty: &syn::Type) -> bool {
        let syn::Type::Path(path) = ty else { return false };
        path.path.segments.last().is_some_and(|last| self.types.contains(&last.ident.to_string()))
    }

    fn note_modules(&mut self, folder: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) => self.note_module(folder, module),
                Item::Use(import) if is_public(&import.vis) => self.note_names(&import.tree),
                _ => {}
            }
        }
    }

    fn note_module(&mut self, folder: &str, module: &ItemMod) {
        let stem = format!("{folder}/{}", module.ident);
        if let Some((_, items)) = &module.content {
            self.note_modules(&stem, items);
        } else if !is_public(&module.vis) {
            self.private.push(stem);
        }
    }

    fn note_names(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.note_names(&path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_names(tree)),
            UseTree::Name(name) => drop(self.exported.insert(name.ident.to_string())),
            UseTree::Rename(name) => drop(self.exported.insert(name.ident.to_string())),
            _ => {}
        }
    }

    fn note_types(&mut self, open: bool, items: &[Item]) {
        for item in items {
            let (visibility, name) = match item {
                Item::Enum(item) => (&item.vis, &item.ident),
                Item::Struct(item) => (&item.vis, &item.ident),
                Item::Type(item) => (&item.vis, &item.ident),
                Item::Mod(ItemMod { content: Some((_, items)), vis, .. }) => {
                    self.note_types(open && is_public(vis), items);
                    continue;
                }
                _ => continue,
            };
            if is_public(visibility) && self.shows(open, name) {
                self.types.insert(name.to_string());
            }
        }
    }
}

/// `pub` without a restriction.
pub(crate) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_files() -> Vec<SourceFile> {
        let parse = |path: &str, text: &str| SourceFile::parse(path, text.to_owned()).unwrap();
        vec![
            parse(
                "a/src/lib.rs",
                "mod inner; pub mod outer; pub use inner::{deep::Shown, Old as New};",
            ),
            parse("a/src/inner.rs", "pub mod deep; pub struct Old; pub struct Hidden;"),
            parse("a/src/inner/deep.rs", "pub struct Shown;"),
            parse("a/src/outer.rs", "pub struct Open; struct Closed;"),
        ]
    }

    #[test]
    fn private_modules_hide_all_below_them() {
        let files = crate_files();
        let surface = Surface::of(files.iter());
        let open: Vec<bool> = files.iter().map(|file| surface.is_open(file)).collect();
        assert_eq!(open, [true, false, false, true]);
    }

    #[test]
    fn reexported_and_open_types_show_their_functions() {
        let surface = Surface::of(crate_files().iter());
        let shows = |name: &str| surface.shows_type(&syn::parse_str(name).unwrap());
        assert!(shows("Shown") && shows("Old") && shows("Open") && shows("Open<T>"));
        assert!(!shows("Hidden") && !shows("Closed") && !shows("&Open"));
    }
}
