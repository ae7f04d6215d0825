"""What every method of the suite shares."""
