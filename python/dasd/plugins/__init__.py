"""Who can do it: roles and hooks, the registry, the host that loads plugins, templates for their authors."""
