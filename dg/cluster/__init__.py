"""Where a run meets Ray and the machines around it: addresses, sessions, submission, what clears up afterwards."""
