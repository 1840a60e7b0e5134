//! The scheduler, played with peers that are fast, slow, dead and lying.
