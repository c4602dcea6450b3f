"""Use cases of the control plane: one public function, one use case, one transaction."""
