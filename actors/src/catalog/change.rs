//! What becomes of a product when it is changed. Pure.

use std::collections::BTreeMap;

use super::errors::CatalogError;
use super::product::{Product, Variant};
use super::{MOST_ATTRIBUTES, MOST_VARIANTS};
use crate::inventory::Sku;
use crate::money::{Currency, Money};

/// What is to become of a product; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProductChange {
    /// What it is called.
    pub name: Option<String>,
    /// What it is; `Some(None)` for nothing.
    pub description: Option<Option<String>>,
    /// The category it is in; `Some(None)` for none.
    pub category_id: Option<Option<String>>,
    /// Where pictures of it are, all of them.
    pub image_urls: Option<Vec<String>>,
    /// What all its variants have in common, all of it.
    pub attributes: Option<BTreeMap<String, String>>,
    /// The variants to be changed or added, by SKU; the others stay.
    pub variants: Vec<VariantChange>,
}

/// What is to become of a variant; what is `None` stays. One that the product has not got is
/// added, and needs a name and a price.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantChange {
    /// Its SKU.
    pub sku: Sku,
    /// What it is called.
    pub name: Option<String>,
    /// What one unit costs, in `currency`, as decimal text.
    pub price: Option<String>,
    /// What it costs that in; if missing, the product's currency.
    pub currency: Option<Currency>,
    /// What sets it apart from the others, all of it.
    pub attributes: Option<BTreeMap<String, String>>,
}

/// The product as it becomes.
pub(super) fn changed(product: &Product, change: &ProductChange) -> Result<Product, CatalogError> {
    let mut next = product.clone();
    if let Some(name) = &change.name {
        next.name.clone_from(name);
    }
    if let Some(description) = &change.description {
        next.description.clone_from(description);
    }
    if let Some(category) = &change.category_id {
        next.category_id.clone_from(category);
    }
    if let Some(urls) = &change.image_urls {
        next.image_urls.clone_from(urls);
    }
    if let Some(attributes) = &change.attributes {
        next.attributes.clone_from(attributes);
    }
    for (number, one) in change.variants.iter().enumerate() {
        if change.variants[..number].iter().any(|other| other.sku == one.sku) {
            return Err(sku_twice(number));
        }
        change_variant(&mut next, number, one)?;
    }
    check(&next)?;
    Ok(next)
}

fn change_variant(product: &mut Product, number: usize, change: &VariantChange) -> Result<(), CatalogError> {
    let first = product.variants.first().map(|first| first.price.currency);
    let known = product.variants.iter_mut().find(|variant| variant.sku == change.sku);
    let currency = change.currency.or(known.as_ref().map(|known| known.price.currency)).or(first);
    let price = match (&change.price, currency) {
        (Some(price), Some(currency)) => Some(
            Money::from_decimal_text(price, currency)
                .map_err(|error| invalid(number, "price", "amount", error.to_string()))?,
        ),
        _ => None,
    };
    match known {
        Some(known) => {
            if let Some(name) = &change.name {
                known.name.clone_from(name);
            }
            if let Some(attributes) = &change.attributes {
                known.attributes.clone_from(attributes);
            }
            if price.is_none() && currency != Some(known.price.currency) {
                return Err(invalid(number, "price", "missing", "is needed in the new currency"));
            }
            known.price = price.unwrap_or(known.price);
        }
        None => product.variants.push(Variant {
            sku: change.sku.clone(),
            name: change
                .name
                .clone()
                .ok_or_else(|| invalid(number, "name", "missing", "a new variant needs it"))?,
            price: price.ok_or_else(|| invalid(number, "price", "missing", "a new variant needs it"))?,
            attributes: change.attributes.clone().unwrap_or_default(),
        }),
    }
    Ok(())
}

/// What must be so of every product.
pub(super) fn check(product: &Product) -> Result<(), CatalogError> {
    let variants = &product.variants;
    if variants.len() > MOST_VARIANTS {
        return Err(CatalogError::TooManyVariants);
    }
    for (number, variant) in variants.iter().enumerate() {
        if variants[..number].iter().any(|other| other.sku == variant.sku) {
            return Err(sku_twice(number));
        }
        if variant.price.minor < 0 {
            return Err(invalid(number, "price", "amount", "is negative"));
        }
        if variant.price.currency != variants[0].price.currency {
            let message = "all variants of a product have one currency";
            return Err(invalid(number, "currency", "other_currency", message));
        }
    }
    if product.attribute_pairs().len() > MOST_ATTRIBUTES {
        return Err(CatalogError::TooManyAttributes);
    }
    Ok(())
}

fn sku_twice(number: usize) -> CatalogError {
    invalid(number, "sku", "sku_twice", "is in another variant already")
}

fn invalid(
    number: usize,
    field: &'static str,
    code: &'static str,
    message: impl Into<String>,
) -> CatalogError {
    CatalogError::InvalidVariant { number, field, code, message: message.into() }
}
