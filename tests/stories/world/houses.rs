//! Where a world's guests are. Who has left for good takes neither room nor time any more.

use std::ops::{Index, IndexMut};

use super::Guesthouse;

/// Every guest's house, by the number that its guest keeps for ever.
#[derive(Default)]
pub(super) struct Houses {
    /// `None` where a house was given up.
    all: Vec<Option<Box<Guesthouse>>>,
    /// The numbers of the others, in order.
    lived_in: Vec<usize>,
}

impl Houses {
    /// The number of the next house.
    pub(super) fn next(&self) -> usize {
        self.all.len()
    }

    pub(super) fn push(&mut self, house: Guesthouse) {
        self.lived_in.push(self.all.len());
        self.all.push(Some(Box::new(house)));
    }

    /// The numbers of those that are lived in.
    pub(super) fn places(&self) -> Vec<usize> {
        self.lived_in.clone()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Guesthouse> {
        self.lived_in.iter().map(|&place| &self[place])
    }

    pub(super) fn give_up(&mut self, place: usize) {
        self.all[place] = None;
        self.lived_in.retain(|&other| other != place);
    }
}

impl Index<usize> for Houses {
    type Output = Guesthouse;

    fn index(&self, place: usize) -> &Guesthouse {
        let house = self.all[place].as_ref();
        house.expect("nobody looks for who was forgotten")
    }
}

impl IndexMut<usize> for Houses {
    fn index_mut(&mut self, place: usize) -> &mut Guesthouse {
        let house = self.all[place].as_mut();
        house.expect("nobody looks for who was forgotten")
    }
}
