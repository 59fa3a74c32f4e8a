//! What goes wrong between managers, agents and disks.

use super::{Event, Fleet};
use crate::command::Command;
use crate::id::NodeId;
use crate::simulate::machine::ms;
use crate::state::State;
use std::time::Duration;

/// When a trouble strikes that lies in wait: within some milliseconds of the next entry of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Tasks are taken out of traffic.
    Drain,
    /// Tasks are told to stop.
    Stop,
    /// Tasks are placed.
    Place,
    /// A release moves on.
    Move,
}

impl Moment {
    pub(super) fn is(self, command: &Command) -> bool {
        match self {
            Self::Drain => matches!(command, Command::DrainTasks { .. }),
            Self::Stop => matches!(command, Command::StopTasks { .. }),
            Self::Place => matches!(command, Command::PlaceTasks { .. }),
            Self::Move => matches!(command, Command::MoveRollout { .. }),
        }
    }
}

/// Something that goes wrong. A manager is named by a number, modulo how many there are, the leader by none; so is a
/// node.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// A manager ends without warning and starts again; with `torn`, its disk keeps nothing that nobody waited for.
    Crash {
        /// Which.
        manager: Option<usize>,
        /// What of its log survives.
        torn: bool,
        /// When it starts again.
        back: Duration,
    },
    /// All managers end at once and start again one after the other.
    CrashAll {
        /// When the first of them starts.
        back: Duration,
    },
    /// A machine loses its power, with the manager and the tasks on it.
    Machine {
        /// Which.
        manager: Option<usize>,
        /// When both start again.
        back: Duration,
    },
    /// A manager is cut off from the others. Agents reach it still.
    Cut {
        /// Which.
        manager: Option<usize>,
        /// For how long.
        length: Duration,
    },
    /// Lies in wait.
    Ambush {
        /// For when.
        moment: Moment,
        /// What strikes then.
        trouble: Box<Trouble>,
    },
    /// The leader hands over.
    HandOver,
    /// A manager's disk stands still.
    Stall {
        /// Which.
        manager: Option<usize>,
        /// For how long.
        length: Duration,
    },
    /// So many authors of entries are not told how it went.
    Silence(u32),
    /// Messages between a node and its leader get lost until the session is given up.
    Lose {
        /// Which.
        node: usize,
        /// What the agent says.
        up: bool,
        /// What the leader says.
        down: bool,
    },
    /// What the leader says of where traffic goes reaches a node late; everything else goes on.
    Lag {
        /// Which.
        node: usize,
        /// For how long.
        length: Duration,
    },
    /// A node does not reach one manager.
    Divide {
        /// Which.
        node: usize,
        /// The manager that it does not reach.
        manager: Option<usize>,
        /// For how long.
        length: Duration,
    },
    /// A machine is cut off from all managers, or loses its power.
    Gone {
        /// Which.
        node: usize,
        /// Whether its containers are gone as well.
        power: bool,
        /// For how long.
        length: Duration,
    },
}

impl Fleet {
    fn named(&self, manager: Option<usize>) -> usize {
        manager.map_or_else(|| self.leader().unwrap_or(0), |nth| nth % self.managers.len())
    }

    fn node(&self, nth: usize) -> Option<NodeId> {
        self.agents.keys().nth(nth % self.agents.len().max(1)).copied()
    }

    /// Lets something go wrong now.
    pub fn trouble(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Crash { manager, torn, back } => {
                let manager = self.named(*manager);
                self.crash_for(manager, *torn, *back);
            }
            Trouble::CrashAll { back } => {
                for manager in 0..self.managers.len() {
                    let later = u32::try_from(manager).unwrap_or(0) * Duration::from_millis(300);
                    self.crash_for(manager, true, *back + later);
                }
            }
            Trouble::Machine { manager, back } => {
                let manager = self.named(*manager);
                self.crash_for(manager, true, *back);
                self.trouble_node(&Trouble::Gone { node: manager, power: true, length: *back });
            }
            Trouble::Cut { manager, length } => {
                let manager = self.named(*manager);
                let found = &mut self.managers[manager];
                (found.side, found.life) = (manager + 1, found.life + u64::from(!found.up));
                let life = found.life;
                self.later(*length, Event::Restore { manager, life });
                self.lose_touch_of_many();
            }
            Trouble::Ambush { moment, trouble } => {
                self.ambushes.push((*moment, trouble.as_ref().clone()));
            }
            Trouble::HandOver => self.hand_over(),
            Trouble::Stall { manager, length } => {
                let manager = self.named(*manager);
                let until = self.world.now + ms(*length);
                let found = &mut self.managers[manager];
                found.stalled_until = found.stalled_until.max(until);
            }
            Trouble::Silence(count) => self.silences = *count,
            Trouble::Lose { .. }
            | Trouble::Lag { .. }
            | Trouble::Divide { .. }
            | Trouble::Gone { .. } => self.trouble_node(trouble),
        }
    }

    fn trouble_node(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Lose { node, up, down } => {
                let Some(node) = self.node(*node) else { return };
                if let Some(agent) = self.agents.get_mut(&node) {
                    agent.loses = (*up, *down);
                }
                self.later(Duration::from_millis(500), Event::Reach(node));
            }
            Trouble::Lag { node, length } => {
                let until = self.world.now + ms(*length);
                let Some(node) = self.node(*node) else { return };
                if let Some(agent) = self.agents.get_mut(&node) {
                    agent.lags_until = until;
                }
            }
            Trouble::Divide { node, manager, length } => {
                let manager = self.named(*manager);
                let Some(node) = self.node(*node) else { return };
                if let Some(agent) = self.agents.get_mut(&node) {
                    agent.cut_from = Some(manager);
                }
                self.later(*length, Event::Reach(node));
            }
            Trouble::Gone { node, power, length } => {
                let Some(node) = self.node(*node) else { return };
                self.lose(node, *power);
                self.later(*length, Event::Return(node));
            }
            Trouble::Crash { .. }
            | Trouble::CrashAll { .. }
            | Trouble::Machine { .. }
            | Trouble::Cut { .. }
            | Trouble::Ambush { .. }
            | Trouble::HandOver
            | Trouble::Stall { .. }
            | Trouble::Silence(_) => {}
        }
    }

    fn crash_for(&mut self, manager: usize, torn: bool, back: Duration) {
        if self.managers[manager].up {
            self.crash(manager, torn);
        }
        let life = self.managers[manager].life;
        self.later(back, Event::Restore { manager, life });
        self.lose_touch_of_many();
    }

    /// Leaders that no majority hears any more will notice.
    fn lose_touch_of_many(&mut self) {
        for manager in 0..self.managers.len() {
            if self.managers[manager].lead.is_some() && !self.is_heard(manager) {
                self.lose_touch(manager);
            }
        }
    }

    /// Who lies in wait for such an entry strikes before much else happens.
    pub(super) fn ambush(&mut self, commands: &[Command]) {
        let strikes = |(moment, _): &(Moment, Trouble)| commands.iter().any(|c| moment.is(c));
        let (now, later): (Vec<_>, Vec<_>) = self.ambushes.drain(..).partition(strikes);
        self.ambushes = later;
        for (_, trouble) in now {
            let wait = self.chance.span(0, 40);
            self.later(wait, Event::Strike(trouble));
        }
    }

    /// A node reaches every manager again.
    pub(super) fn reach_again(&mut self, node: NodeId) {
        if let Some(agent) = self.agents.get_mut(&node) {
            (agent.cut_from, agent.loses) = (None, (false, false));
        }
    }

    /// Every manager takes a snapshot, which `copy` writes and reads.
    pub fn snapshot(&mut self, copy: impl Fn(&State) -> State) {
        for manager in self.managers.iter_mut().filter(|manager| manager.up) {
            manager.snapshot(&copy);
        }
    }

    /// Everything is whole again: every manager and machine runs and is reached, and every disk goes on. What is on its
    /// way comes when it comes.
    pub fn mend(&mut self) {
        self.silences = 0;
        self.ambushes.clear();
        for manager in 0..self.managers.len() {
            let found = &mut self.managers[manager];
            found.stalled_until = 0;
            let life = found.life;
            self.later(Duration::ZERO, Event::Restore { manager, life });
        }
        let nodes: Vec<_> = self.agents.keys().copied().collect();
        for node in nodes {
            self.later(Duration::ZERO, Event::Reach(node));
            self.later(Duration::ZERO, Event::Return(node));
        }
    }
}
