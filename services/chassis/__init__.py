"""What every service does alike. It knows no business noun."""
