"""Many runs that differ in a few fields, one after another, and the page that says which of them is best."""
