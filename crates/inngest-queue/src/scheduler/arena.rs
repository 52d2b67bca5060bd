//! Things that are named by small numbers, so that they can refer to each other without hashing.

use std::hash::Hash;
use std::ops::{Index, IndexMut};

/// Room that is kept when there was more use for it than there is now.
const KEEP: usize = 1_024;

/// A table whose places are used again.
#[derive(Debug)]
pub(super) struct Arena<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.places[number as usize] = Some(value);
            return number;
        }
        self.places.push(Some(value));
        u32::try_from(self.places.len() - 1).expect("fewer than four thousand million")
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.places.get_mut(number as usize)?.take()?;
        self.free.push(number);
        if self.free.len() == self.places.len() {
            self.places.clear();
            self.free.clear();
            self.places.shrink_to(KEEP);
            self.free.shrink_to(KEEP);
        }
        Some(value)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.places.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(number, place)| Some((number as u32, place.as_ref()?)))
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        self.get(number).expect("only numbers of what is there are used")
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        self.get_mut(number).expect("only numbers of what is there are used")
    }
}

/// A map by ids and hashes, of which there are several in every operation: with a hash that is quick, and seeded anew in
/// each process.
pub(super) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Gives memory back after a burst.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut Map<K, V>) {
    if map.capacity() > KEEP && map.len() < map.capacity() / 8 {
        map.shrink_to((map.len() * 2).max(KEEP / 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_given_back_when_all_are_free() {
        let mut arena = Arena::default();
        let numbers: Vec<u32> = (0..10_000).map(|value| arena.insert(value)).collect();
        assert_eq!(arena.remove(numbers[7]), Some(7));
        assert_eq!((arena.remove(7), arena.get(7)), (None, None));
        assert_eq!(arena.insert(70), 7);
        assert_eq!(arena[7], 70);
        assert_eq!(arena.iter().count(), 10_000);
        for number in numbers {
            arena.remove(number);
        }
        assert_eq!(arena.iter().count(), 0);
        assert!(arena.places.capacity() <= 2 * KEEP);
    }
}
