//! Making, moving and deleting categories.
//!
//! Who calls it: the routes, after checking `catalog:write`. What never happens here: a circle, a
//! tree deeper than [`MOST_DEPTH`], a category deleted while a product or another category is in
//! it, also by changes at the same time (see [`super::category::CATEGORY_TREE`]).

use super::category::{
    CATEGORIES, CHILDREN, Category, CategoryTree, MOST_CATEGORIES, MOST_DEPTH, TreeRecord,
};
use super::errors::CatalogError;
use super::service::{Catalog, Made};
use crate::store::{Batch, Cursor, PRIMARY, Query, StoreError, Versioned, find, load};
use crate::tombstone::Tombstone;

/// A category to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCategory {
    /// Its id, chosen by who asks: the same id again is the same category.
    pub id: String,
    /// A digest of what the command says, if its id can come again with other words.
    pub command: Option<String>,
    /// What it is called.
    pub name: String,
    /// The category it is in; a top one has none.
    pub parent_id: Option<String>,
}

/// What is to become of a category; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CategoryChange {
    /// What it is called.
    pub name: Option<String>,
    /// The category it is in; `Some(None)` makes it a top one.
    pub parent_id: Option<Option<String>>,
}

/// The tree's form, and the version of the record that stands for it.
struct Form {
    record: TreeRecord,
    version: u64,
    tree: CategoryTree,
}

impl Form {
    /// Where something of this height may be put.
    fn check_place(&self, parent: Option<&str>, height: usize) -> Result<(), CatalogError> {
        let above = match parent {
            None => 0,
            Some(parent) if self.tree.has(parent) => self.tree.depth(parent),
            Some(_) => return Err(CatalogError::UnknownCategory),
        };
        if above + height > MOST_DEPTH { Err(CatalogError::TooDeep) } else { Ok(()) }
    }

    /// The batch with the tree's record, of which there are then so many categories.
    fn replaced(&self, batch: Batch, categories: u64) -> Batch {
        batch.put(&TreeRecord::of(categories), self.version)
    }
}

impl Catalog {
    /// A category; `None` if there is none with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn category(&self, id: &str) -> Result<Option<Category>, StoreError> {
        Ok(load::<Category>(self.store.as_ref(), id).await?.map(|category| category.value))
    }

    /// A page of all categories, or of those in `parent`, in the order of their ids; `limit` is 1
    /// to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn categories(
        &self,
        parent: Option<&str>,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<Category>, Option<Cursor>), StoreError> {
        let query = match parent {
            None => Query::by(&CATEGORIES, PRIMARY),
            Some(parent) => Query::by(&CATEGORIES, CHILDREN).equal(parent),
        };
        let (found, next) = find::<Category>(self.store.as_ref(), query.limit(limit).after(after)).await?;
        Ok((found.into_iter().map(|category| category.value).collect(), next))
    }

    /// Makes a category. If the id's category exists already, it is returned as it stands.
    ///
    /// # Errors
    /// [`CatalogError`]; [`CatalogError::DeletedSince`] if this command made it, and it is no more.
    pub async fn create_category(&self, new: NewCategory) -> Result<Made<Category>, CatalogError> {
        self.settle(async || {
            if let Some(first) = self.category(&new.id).await? {
                if first.command != new.command {
                    return Err(CatalogError::KeyReused);
                }
                return Ok((Batch::new(), Made { value: first, replayed: true }));
            }
            let form = self.form().await?;
            // Looked for after the form was read: a deletion from then on changes the form.
            let can_come_again = new.command.is_some();
            if can_come_again && Tombstone::<Category>::is_there(self.store.as_ref(), &new.id).await? {
                return Err(CatalogError::DeletedSince);
            }
            if form.record.categories >= MOST_CATEGORIES {
                return Err(CatalogError::TooManyCategories);
            }
            form.check_place(new.parent_id.as_deref(), 1)?;
            let category = Category {
                command: new.command.clone(),
                ..Category::new(new.id.clone(), new.name.clone(), new.parent_id.clone())
            };
            let batch = form.replaced(Batch::new().insert(&category), form.record.categories + 1);
            Ok((batch, Made { value: category, replayed: false }))
        })
        .await
    }

    /// Renames a category, or moves it with all that is in it.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn change_category(
        &self,
        id: &str,
        change: CategoryChange,
        if_version: Option<u64>,
    ) -> Result<Category, CatalogError> {
        self.settle(async || {
            let Versioned { value: now, version } = self.category_at(id, if_version).await?;
            let mut next = now.clone();
            if let Some(name) = &change.name {
                next.name.clone_from(name);
            }
            if let Some(parent) = &change.parent_id {
                next.parent_id = parent.clone().unwrap_or_default();
            }
            if next == now {
                return Ok((Batch::new(), now));
            }
            next.revision += 1;
            let mut batch = Batch::new().replace(&next, version);
            if next.parent_id != now.parent_id {
                let form = self.form().await?;
                let parent = next.parent_id();
                if parent.is_some_and(|parent| form.tree.path(parent).any(|above| above == id)) {
                    return Err(CatalogError::Circle);
                }
                form.check_place(parent, form.tree.height(id))?;
                batch = form.replaced(batch, form.record.categories);
            }
            Ok((batch, next))
        })
        .await
    }

    /// Deletes a category that nothing is in.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn delete_category(&self, id: &str, if_version: Option<u64>) -> Result<(), CatalogError> {
        self.settle(async || {
            let category = self.category_at(id, if_version).await?;
            let form = self.form().await?;
            if form.tree.has_children(id) {
                return Err(CatalogError::HasChildren);
            }
            if category.value.products > 0 {
                return Err(CatalogError::InUse);
            }
            let left = form.record.categories.saturating_sub(1);
            let batch = form.replaced(Batch::new().delete(&category), left);
            let deleted = Tombstone::of(&category.value, self.clock.now());
            Ok((deleted.iter().fold(batch, Batch::insert), ()))
        })
        .await
    }

    /// A category to be changed.
    async fn category_at(
        &self,
        id: &str,
        if_version: Option<u64>,
    ) -> Result<Versioned<Category>, CatalogError> {
        let found = load::<Category>(self.store.as_ref(), id).await?.ok_or(CatalogError::NotFound)?;
        if if_version.is_none_or(|version| version == found.value.revision) {
            Ok(found)
        } else {
            Err(CatalogError::OtherVersion)
        }
    }

    /// The tree. Its record is read before its categories: if that record still has its version
    /// when a batch commits, these were its categories.
    async fn form(&self) -> Result<Form, CatalogError> {
        let record = load::<TreeRecord>(self.store.as_ref(), TreeRecord::ID).await?;
        let (record, version) = record.map_or((TreeRecord::of(0), 0), |read| (read.value, read.version));
        Ok(Form { record, version, tree: self.tree().await?.0 })
    }

    /// The tree, and the categories that make it.
    pub(super) async fn tree(&self) -> Result<(CategoryTree, Vec<Category>), StoreError> {
        let most = usize::try_from(MOST_CATEGORIES).unwrap_or(usize::MAX);
        let categories = self.categories(None, most, None).await?.0;
        Ok((CategoryTree::of(&categories), categories))
    }

    /// Adds to `batch` what tells the categories that a product went from one to the other.
    pub(super) async fn moved(
        &self,
        batch: Batch,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Batch, CatalogError> {
        if from == to {
            return Ok(batch);
        }
        let mut batch = batch;
        for (id, joined) in [(from, false), (to, true)] {
            let Some(id) = id else { continue };
            let found = load::<Category>(self.store.as_ref(), id).await?;
            // Nothing keeps a product from leaving.
            let Some(Versioned { value: mut category, version }) = found else {
                if joined {
                    return Err(CatalogError::UnknownCategory);
                }
                continue;
            };
            category.products =
                if joined { category.products + 1 } else { category.products.saturating_sub(1) };
            batch = batch.replace(&category, version);
        }
        Ok(batch)
    }
}
