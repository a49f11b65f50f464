//! Which container images the stack's components run, as their recipes say. Does not know which steps put them anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::ValueKind;

use super::expand::Expansion;
use crate::catalog::{AllProblems, ImageRef, Images, Piece, split_placeholders};

impl Expansion<'_> {
    /// Evaluates the images of all components, and hands them to templates as `images`.
    pub fn images(&self, problems: &mut AllProblems) -> BTreeMap<Arc<str>, BTreeSet<String>> {
        let mut all = BTreeMap::new();
        for (at, part) in self.parts.iter().enumerate() {
            let mut of = BTreeSet::new();
            for (name, images) in &part.base.recipe.images {
                match self.references(at, images) {
                    Ok(references) => of.extend(references),
                    Err((key, line, message)) => {
                        let message = format!("image `{name}`: {message}");
                        self.report(at, problems, &["images", name, key], line, message);
                    }
                }
            }
            if !of.is_empty() {
                all.insert(part.name.clone(), of);
            }
        }
        let each: BTreeSet<&str> = all.values().flatten().map(String::as_str).collect();
        let known = self.shared.images.set(each.into_iter().collect());
        debug_assert!(known.is_ok(), "images are evaluated once");
        all
    }

    /// Evaluates one entry. The error is the key, the line and what is wrong.
    fn references(
        &self,
        part: usize,
        images: &Images,
    ) -> Result<Vec<String>, (&'static str, Option<u32>, String)> {
        let evaluated = |key, template| {
            self.evaluate(part, template, None, None)
                .map_err(|error| (key, error.line, error.message))
        };
        if let Some(when) = &images.when {
            let wanted = evaluated("when", when)?;
            if wanted.kind() != ValueKind::Bool {
                let kind = wanted.kind();
                return Err((
                    "when",
                    None,
                    format!("it must give true or false, not {kind}"),
                ));
            }
            if !wanted.is_true() {
                return Ok(Vec::new());
            }
        }
        let mut references = Vec::new();
        for template in &images.image {
            let value = evaluated("image", template)?;
            let one = match value.kind() {
                ValueKind::Seq | ValueKind::Iterable => value.try_iter().ok(),
                _ => None,
            };
            match one {
                Some(items) => {
                    for item in items {
                        references.push(reference(&item).map_err(|why| ("image", None, why))?);
                    }
                }
                None => references.push(reference(&value).map_err(|why| ("image", None, why))?),
            }
        }
        Ok(references)
    }
}

/// Reads a reference, which must say which image it is.
fn reference(value: &Jinja) -> Result<String, String> {
    let Some(text) = value.as_str() else {
        return Err(format!("a reference is text, not {}", value.kind()));
    };
    if !matches!(
        split_placeholders(text).as_deref(),
        Ok([] | [Piece::Literal(_)])
    ) {
        return Err("a secret or an output of a step can't be part of a reference".to_owned());
    }
    let image = ImageRef::parse(text)?;
    if image.digest.is_none() && !text.ends_with(&format!(":{}", image.key())) {
        return Err(format!("`{text}` says neither a tag nor a digest"));
    }
    Ok(image.to_string())
}
