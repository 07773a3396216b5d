"""Program: tells which process of a serving pod uses which model, and what it costs."""
