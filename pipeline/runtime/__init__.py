"""The Ray side: coordinator, actor pools, supervision, errors, resource plan."""
