//! What goes over connections: messages as bytes, and who is let in. One program, for each would compile libp2p's swarm for itself.

mod codec;
mod gate;
mod golden;
