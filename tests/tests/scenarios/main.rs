//! What users live through, one story a file, played with the real programs on free ports of this machine.
//!
//! A failure prints what the programs said last. `POTLUCK_BIN=DIR` plays with programs that are built already.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a scenario that cannot go on has failed")]

mod a_changing_file;
mod a_download_to_a_pipe;
mod a_folder_is_downloaded;
mod a_killed_download_goes_on;
mod a_killed_tracker_loses_nothing;
mod a_large_tree;
mod a_page_for_its_user_only;
mod a_share_follows_the_disk;
mod a_source_dies_mid_download;
mod a_tracker_under_strain;
mod a_watch_tells_what_is_published;
mod bad_arguments;
mod both_indexes;
mod damaged_downloads_are_repaired;
mod downloads_are_offered;
mod downloads_are_paused;
mod every_verb_prints_json;
mod exit_codes;
mod floods;
mod foreign_programs;
mod hostile_frames;
mod killed_at_any_moment;
mod large_shares;
mod liars;
mod limits;
mod links;
mod local_files_fail;
mod memory_stays_small;
mod names_that_are_markup;
mod names_that_try_to_leave;
mod nothing_is_left_behind;
mod nothing_to_fetch;
mod odd_things_in_a_share;
mod one_data_folder_one_node;
mod presence;
mod private_swarms;
mod secrets_stay_secret;
mod settings_have_an_order;
mod several_trackers;
mod shares_change_at_run_time;
mod the_doctor;
mod the_page;
mod the_page_in_a_browser;
mod the_tracker_restarts;
mod the_wrong_tracker;
mod three_sources;
mod trackers_that_share_an_index;
mod two_nodes_find_each_other;
mod verbs_without_a_node;
mod what_exists_is_never_touched;
mod without_a_tracker;
