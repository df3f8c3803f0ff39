"""Documents people keep: receipts, later invoices and statements, as PDF. They read frozen facts, never live ones."""
