;; A component posing as a module.
(component)
