"""Program: one operation in a Job pod."""
