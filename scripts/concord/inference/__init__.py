"""What follows from a likelihood: information, profiles, degrees of freedom, prediction, influence; no package, no R,
no screen."""
