//! Scenarios, traffic and checks shared by the live and the VM tests.
