//! What a gate looks at: borrowed from who asks, or shared with it, so that a gate can outlive the
//! function that made it.

use std::ops::Deref;
use std::sync::Arc;

/// Something that is borrowed, or shared.
#[derive(Debug)]
pub enum Lent<'a, T> {
    /// Borrowed.
    Borrowed(&'a T),
    /// Shared.
    Shared(Arc<T>),
}

impl<T> Clone for Lent<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(lent) => Self::Borrowed(lent),
            Self::Shared(lent) => Self::Shared(Arc::clone(lent)),
        }
    }
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(lent) => lent,
            Self::Shared(lent) => lent,
        }
    }
}
