//! Lists of headers, without allocation.

/// At most `N` items, and whether there may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    items: [T; N],
    /// As small as it can be: a packet has several lists.
    len: u8,
    is_cut: bool,
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self {
            items: [T::default(); N],
            len: 0,
            is_cut: false,
        }
    }
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// The items that are known.
    pub fn items(&self) -> &[T] {
        self.items.get(..self.len.into()).unwrap_or_default()
    }

    /// Whether the packet may hold more items, which can't be known.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The items; `None` at the end if the packet may hold more.
    pub fn iter(&self) -> impl Iterator<Item = Option<T>> {
        let known = self.items().iter().map(|item| Some(*item));
        known.chain(self.is_cut.then_some(None))
    }

    /// Adds an item. Where there is no room, the list is cut instead.
    pub(super) fn push(&mut self, item: T) {
        match self.items.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = item;
                self.len += 1;
            }
            None => self.cut(),
        }
    }

    /// What follows can't be known.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }
}
