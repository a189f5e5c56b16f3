-- An erasure begins: from now on no row of this student is taken in.
INSERT INTO erasures VALUES ($pseudo_sha256, $erased_by, $reason, $now, NULL, NULL)
