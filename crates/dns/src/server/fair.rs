//! What waits when more comes than can be answered: a line for each client, and each
//! line's first in turn. Without I/O.
//!
//! A client that floods has a long line, in which it waits for itself. When there is no
//! room, the newest of a line that has its share or more goes: no client loses anything
//! while it has less waiting.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Lines of clients, of bounded length together.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    lines: HashMap<K, VecDeque<T>, foldhash::fast::RandomState>,
    /// Clients with something waiting, the next one first.
    turns: VecDeque<K>,
    /// Lines that nobody stands in: their memory is used again.
    empty: Vec<VecDeque<T>>,
    length: usize,
    capacity: usize,
}

// === impl FairQueue ===

impl<K: Hash + Eq + Copy, T> FairQueue<K, T> {
    /// Empty, with room for `capacity` in all.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { lines: HashMap::default(), turns: VecDeque::new(), empty: Vec::new(), length: 0, capacity }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts one at the end of a client's line. Gives back what there is no room for any
    /// more: this one when the client has its share, else the newest of the longest line.
    pub fn push(&mut self, client: K, item: T) -> Option<T> {
        let mut shed = None;
        if self.length >= self.capacity {
            let line = self.lines.get(&client).map(VecDeque::len);
            let clients = self.lines.len() + usize::from(line.is_none());
            // Without a look at the others, for this is where a flood ends.
            if line.unwrap_or(0) >= self.capacity / clients {
                return Some(item);
            }
            // This line is shorter than the mean, so another is longer.
            shed = self.longest().and_then(|longest| self.take_newest(longest));
        }
        let Self { lines, turns, empty, .. } = self;
        let line = lines.entry(client).or_insert_with(|| {
            turns.push_back(client);
            empty.pop().unwrap_or_default()
        });
        line.push_back(item);
        self.length += 1;
        shed
    }

    /// The one whose turn it is.
    pub fn pop(&mut self) -> Option<(K, T)> {
        let client = self.turns.pop_front()?;
        let line = self.lines.get_mut(&client)?;
        let item = line.pop_front()?;
        self.length -= 1;
        if line.is_empty() {
            self.close(client);
        } else {
            self.turns.push_back(client);
        }
        Some((client, item))
    }

    fn longest(&self) -> Option<K> {
        self.lines.iter().max_by_key(|(_, line)| line.len()).map(|(client, _)| *client)
    }

    fn take_newest(&mut self, client: K) -> Option<T> {
        let line = self.lines.get_mut(&client)?;
        let item = line.pop_back()?;
        self.length -= 1;
        if line.is_empty() {
            self.turns.retain(|other| *other != client);
            self.close(client);
        }
        Some(item)
    }

    fn close(&mut self, client: K) {
        if let Some(mut line) = self.lines.remove(&client) {
            // What a flood made of it is given back.
            line.shrink_to(LINE_KEPT);
            if self.empty.len() < LINES_KEPT {
                self.empty.push(line);
            }
        }
    }
}

/// Room that an empty line keeps, and how many of them are kept.
const LINE_KEPT: usize = 256;
const LINES_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_floods_waits_for_itself() {
        let mut queue = FairQueue::new(8);
        let shed: Vec<u32> = (0..20).filter_map(|number| queue.push('f', number)).collect();
        assert_eq!(shed, (8..20).collect::<Vec<_>>(), "the newest go");
        assert_eq!(queue.push('s', 100), Some(7), "another client finds room");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order[..3], [('f', 0), ('s', 100), ('f', 1)]);
        assert_eq!((order.len(), queue.len()), (8, 0));
    }

    #[test]
    fn a_client_with_as_much_as_all_others_makes_nobody_lose() {
        let mut queue = FairQueue::new(4);
        assert!("abab".chars().all(|client| queue.push(client, 0).is_none()));
        assert_eq!(queue.push('a', 9), Some(9));
        assert_eq!(queue.push('c', 9), Some(0), "the third has nothing yet");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_unsaid_nor_grows_nor_overtakes(
            steps in prop::collection::vec(prop::option::weighted(0.8, 0..6u8), 0..400),
            capacity in 1..40usize,
        ) {
            let mut queue = FairQueue::new(capacity);
            let (mut waiting, mut number) = (HashMap::<u8, VecDeque<u32>>::new(), 0u32);
            for step in steps {
                match step {
                    Some(client) => {
                        number += 1;
                        let lines = waiting.clone();
                        waiting.entry(client).or_default().push_back(number);
                        if let Some(shed) = queue.push(client, number) {
                            let (loser, line) = waiting.iter_mut().find(|(_, line)| line.contains(&shed)).unwrap();
                            prop_assert_eq!(line.pop_back(), Some(shed), "the newest goes");
                            let had = lines.get(loser).map_or(0, VecDeque::len);
                            let others = lines.iter().filter(|(other, line)| **other != client && !line.is_empty());
                            let share = capacity / (others.count() + 1);
                            prop_assert!(had >= share, "{} of {}", had, share);
                        }
                    }
                    None => {
                        let all: usize = waiting.values().map(VecDeque::len).sum();
                        match queue.pop() {
                            Some((client, item)) => {
                                prop_assert_eq!(waiting.get_mut(&client).and_then(VecDeque::pop_front), Some(item));
                            }
                            None => prop_assert_eq!(all, 0),
                        }
                    }
                }
                let all: usize = waiting.values().map(VecDeque::len).sum();
                prop_assert_eq!(queue.len(), all);
                prop_assert!(all <= capacity);
            }
        }

        #[test]
        fn clients_that_wait_are_served_equally(lengths in prop::collection::vec(1..30usize, 1..8)) {
            let mut queue = FairQueue::new(1000);
            for (client, length) in lengths.iter().enumerate() {
                (0..*length).for_each(|item| assert!(queue.push(client, item).is_none()));
            }
            let shortest = lengths.iter().copied().min().unwrap_or(0);
            let mut served = vec![0; lengths.len()];
            for _ in 0..shortest * lengths.len() {
                served[queue.pop().unwrap().0] += 1;
            }
            prop_assert!(served.iter().all(|count| *count == shortest), "{:?}", served);
        }
    }
}
