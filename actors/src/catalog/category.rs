//! What the store keeps of categories, and the tree that they make. The tree is pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::tombstone::{self, tombstones};

/// Categories that a shop has at most: one read finds them all.
pub const MOST_CATEGORIES: u64 = 1000;
/// How deep the tree is at most; a top category has depth 1.
pub const MOST_DEPTH: usize = 8;

/// The categories.
pub static CATEGORIES: Collection = Collection {
    name: "categories",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("name", Kind::Text),
        Field::required("parentId", Kind::Text),
        Field::required("revision", Kind::Integer),
        Field::required("products", Kind::Integer),
    ],
    indexes: &[Index::by(CHILDREN, &["parentId"])],
    words: &[],
    expires: None,
};

/// One record, which every change of the tree's form replaces: of two such changes that rest on
/// the same form, one stands. So no two moves, each sound by itself, make a circle together.
pub static CATEGORY_TREE: Collection = Collection {
    name: "category_tree",
    fields: &[Field::required("id", Kind::Text), Field::required("categories", Kind::Integer)],
    indexes: &[],
    words: &[],
    expires: None,
};

/// Ids of categories that were made by a command that can come again, and were deleted.
pub static DELETED_CATEGORIES: Collection = tombstones("deleted_categories");

/// The index of [`CATEGORIES`] by what they are in.
pub(super) const CHILDREN: &str = "children";

/// A heading that products are under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Category {
    /// Its id.
    pub id: String,
    /// A digest of the command that made it, to tell a repeat from another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<String>,
    /// What it is called.
    pub name: String,
    /// The category it is in; empty for a top one.
    pub(super) parent_id: String,
    /// 1 when made, one more with each change of its name or place: what clients know it by. The
    /// record's own version also rises with `products`.
    pub revision: u64,
    /// Products on sale that are directly in it. Each commit that puts one in or takes one out
    /// replaces this record, so that it is never deleted under a product.
    pub(super) products: u64,
}

impl Category {
    pub(super) fn new(id: String, name: String, parent_id: Option<String>) -> Self {
        Self { id, command: None, name, parent_id: parent_id.unwrap_or_default(), revision: 1, products: 0 }
    }

    /// The category it is in, unless it is a top one.
    pub fn parent_id(&self) -> Option<&str> {
        Some(self.parent_id.as_str()).filter(|id| !id.is_empty())
    }
}

impl Entity for Category {
    fn collection() -> &'static Collection {
        &CATEGORIES
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl tombstone::Made for Category {
    fn tombstones() -> &'static Collection {
        &DELETED_CATEGORIES
    }

    fn can_come_again(&self) -> bool {
        self.command.is_some()
    }
}

/// The record of [`CATEGORY_TREE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TreeRecord {
    id: String,
    /// How many categories there are.
    pub(super) categories: u64,
}

impl TreeRecord {
    pub(super) const ID: &'static str = "tree";

    pub(super) fn of(categories: u64) -> Self {
        Self { id: Self::ID.to_owned(), categories }
    }
}

impl Entity for TreeRecord {
    fn collection() -> &'static Collection {
        &CATEGORY_TREE
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// Which category is in which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CategoryTree {
    parents: BTreeMap<String, String>,
    children: BTreeMap<String, Vec<String>>,
}

impl CategoryTree {
    pub(super) fn of<'a>(categories: impl IntoIterator<Item = &'a Category>) -> Self {
        let mut tree = Self::default();
        for category in categories {
            tree.parents.insert(category.id.clone(), category.parent_id.clone());
            tree.children.entry(category.parent_id.clone()).or_default().push(category.id.clone());
        }
        tree
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.parents.contains_key(id)
    }

    /// Whether something is in it.
    pub(super) fn has_children(&self, id: &str) -> bool {
        self.children.contains_key(id)
    }

    /// The category and all that it is in, itself first.
    pub(super) fn path<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::successors(Some(id).filter(|id| self.has(id)), |id| {
            self.parents.get(*id).map(String::as_str).filter(|parent| !parent.is_empty())
        })
        // No path is longer; a circle, which nobody can make, would have no end.
        .take(self.parents.len())
    }

    /// 1 for a top category; 0 if there is none with this id.
    pub(super) fn depth(&self, id: &str) -> usize {
        self.path(id).count()
    }

    /// The category and all that are in it, however deep.
    pub(super) fn within(&self, id: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next: Vec<&str> = Some(id).filter(|id| self.has(id)).into_iter().collect();
        while let Some(id) = next.pop() {
            if found.insert(id.to_owned()) {
                next.extend(self.children.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        found
    }

    /// Levels from the category down to the deepest that is in it; 1 if nothing is.
    pub(super) fn height(&self, id: &str) -> usize {
        let above = self.depth(id).saturating_sub(1);
        self.within(id).iter().map(|below| self.depth(below) - above).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(parents: &[(&str, &str)]) -> CategoryTree {
        let category = |(id, parent): &(&str, &str)| {
            Category::new((*id).to_owned(), String::new(), Some((*parent).to_owned()))
        };
        let categories: Vec<Category> = parents.iter().map(category).collect();
        CategoryTree::of(&categories)
    }

    #[test]
    fn a_tree_knows_what_is_above_and_below() {
        let tree = tree(&[("a", ""), ("b", "a"), ("c", "b"), ("d", "a"), ("x", "")]);
        assert_eq!(tree.path("c").collect::<Vec<_>>(), ["c", "b", "a"]);
        assert_eq!((tree.depth("a"), tree.depth("c"), tree.depth("none")), (1, 3, 0));
        assert_eq!(tree.within("a").into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!((tree.height("a"), tree.height("b"), tree.height("c")), (3, 2, 1));
        assert!(tree.has_children("b") && !tree.has_children("c"));
        assert!(tree.within("none").is_empty());
    }

    #[test]
    fn even_a_circle_that_somebody_stored_ends() {
        let tree = tree(&[("a", "b"), ("b", "a")]);
        assert!(tree.depth("a") <= 2);
        assert_eq!(tree.within("a").len(), 2);
    }
}
