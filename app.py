"""Command line of Consilium: ``python app.py --help``. The package ``app/`` wins on import; this file only dispatches."""

if __name__ == "__main__":
    from app.cli import main

    main()
