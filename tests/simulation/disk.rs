//! The disk of a run: a store that the run controls, and the jobs that call it. All that the simulation knows of
//! how disk work is held up is in this file.

use crate::steps::{Kind, Setup};
use crate::support::jobs::Origin;
use crate::support::store::{Call, Control, Fault, Seen, TestStore};

/// Disk threads work only while the run waits for them, and each call of the store waits for the run.
pub struct Disk {
    control: Control,
    jobs: Origin,
}

impl Disk {
    pub fn new(setup: &Setup) -> Self {
        let jobs = Origin::here();
        jobs.step(true);
        let control = Control::new(setup.at_once);
        if setup.kind == Kind::Reopenable {
            control.take_any_order();
        }
        if setup.max_disk.is_some() {
            control.reuse_places();
        }
        control.hold_writes(true);
        control.hold_reads(true);
        Self { control, jobs }
    }

    pub fn store(&self) -> TestStore {
        self.control.store()
    }

    /// Disk work goes on until all of it is done, or waits for the run.
    pub fn rest(&self) {
        self.jobs.rest();
    }

    /// How many calls wait for the run.
    pub fn waiting(&self) -> usize {
        self.control.calls_waiting()
    }

    /// One of the waiting calls is made, by its number.
    pub fn pass(&self, number: usize, fault: Option<Fault>) -> Option<Call> {
        let call = self.control.pass(number, fault);
        self.rest();
        call
    }

    /// The space on the disk.
    pub fn limit(&self, capacity: Option<u64>) {
        self.control.limit(capacity);
    }

    /// From now on no call fails or waits.
    pub fn heal(&self) {
        self.control.heal();
        self.jobs.step(false);
    }

    pub fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        self.control.look(look)
    }
}

impl Drop for Disk {
    /// A run that has found something leaves work behind. Its threads would wait for ever.
    fn drop(&mut self) {
        self.heal();
        self.rest();
    }
}
